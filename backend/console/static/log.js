// Logs come anew every few seconds: whoever reads one keeps the place, and the selection, for which all waits.
// The focus stays by itself, as a log has an id.
const NEAR = 4; // pixels from the newest line that still are at it
let read; // of the log that is about to be replaced

const logIn = (element) => element.querySelector?.(".log");
const isPoll = ({ elt, target }) => elt === target;

function place(log) {
  const { scrollTop, scrollHeight, clientHeight } = log;
  const newest = log.dataset.newest === "below" ? scrollHeight - clientHeight - scrollTop < NEAR : scrollTop < NEAR;
  const line = [...log.children].find(({ offsetTop, offsetHeight }) => offsetTop + offsetHeight > scrollTop);
  return { newest, text: line?.textContent, beyond: scrollTop - line?.offsetTop };
}

function restore(log, { newest, text, beyond }) {
  if (newest) {
    log.scrollTop = log.dataset.newest === "below" ? log.scrollHeight : 0;
    return;
  }
  const line = [...log.children].findLast(({ textContent }) => textContent === text);
  if (line) log.scrollTop = line.offsetTop + beyond;
}

addEventListener("htmx:beforeRequest", (event) => {
  const log = isPoll(event.detail) && logIn(event.detail.target);
  const selection = getSelection();
  if (log && !selection.isCollapsed && selection.containsNode(log, true)) event.preventDefault();
});

addEventListener("htmx:beforeSwap", (event) => {
  const log = isPoll(event.detail) && logIn(event.detail.target);
  read = log ? place(log) : null;
});

addEventListener("htmx:afterSwap", () => {
  const log = read && document.getElementById("log-lines");
  if (log) restore(log, read);
  read = null;
});

// The page that tests a model: one picture after another from the camera, or a photo.
import { Phone, Server } from "./answering.js";
import { draw, mark, ofFile, startCamera } from "./pictures.js";

const SHOWN = 3; // classes
const MOST = 1600; // pixels of the longer side that are looked at
const ACROSS = { classes: 640, texts: 1280 }; // pixels of the camera: small letters need more
const PAUSE = 250; // milliseconds between two pictures that are sent to the server
const BUSY = 3000; // milliseconds after a refusal
const SETTLE = 0.8; // weight of the past in the pace that is shown

const at = (id) => document.getElementById(id);
const [video, still, marks, notice] = ["video", "still", "marks", "notice"].map(at);
const frame = document.createElement("canvas");
const server = new Server(location.pathname.replace(/\/$/, ""));
let config, texts, phone, pace = 0;
let held = true; // whether no picture of the camera is looked at
let asked = 0; // questions so far: an answer to an older one is not shown

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function say(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

const onServer = () => !phone || at("on-server").checked;

// One answer to what the canvas holds, shown; false when there is none.
async function look(canvas) {
  const began = performance.now(), remote = onServer(), number = ++asked;
  try {
    const answer = await (remote ? server : phone).answer(canvas);
    if (number === asked) show(answer, performance.now() - began, remote);
    return true;
  } catch (error) {
    say(error.message);
    if (error.status === 404 || error.status === 410) hold(true);
    return false;
  }
}

function show({ outputs, decision, width, height }, milliseconds, remote) {
  say("");
  list(config.reads ? outputs : outputs.slice(0, SHOWN));
  if (config.reads) mark(marks, { outputs, width, height });
  const words = config.reads ? (outputs.length ? "" : texts.nothing_read) : decision ? texts[decision.reason || "sure"] : "";
  at("decision").textContent = words;
  at("decision").className = decision && !decision.label ? "unsure" : "";
  const took = { milliseconds: Math.round(milliseconds), pace: pace.toFixed(pace < 10 ? 1 : 0) };
  at("facts").textContent = `${filled(pace && !held ? texts.pace : texts.took, took)}. ${remote ? texts.on_server : texts.on_phone}`;
  if (at("wrong")) at("wrong").disabled = false;
}

// The lines stay and change their words: screens are drawn many times a second.
function list(outputs) {
  const lines = at("outputs");
  while (lines.children.length > outputs.length) lines.lastChild.remove();
  while (lines.children.length < outputs.length) lines.append(line());
  outputs.forEach(({ label, conf }, number) => {
    const [name, share, bar] = lines.children[number].children;
    name.textContent = label;
    share.textContent = `${(100 * conf).toFixed(1)} %`;
    bar.value = conf;
  });
}

function line() {
  const item = document.createElement("li");
  item.append(...["bdi", "span", "progress"].map((tag) => document.createElement(tag)));
  item.lastChild.setAttribute("aria-hidden", "true");
  return item;
}

function hold(now) {
  held = now;
  at("hold").textContent = held ? texts.resume : texts.hold;
  if (held) {
    still.getContext("2d").canvas.hidden = false;
    draw(frame, still, MOST);
    video.hidden = true;
  } else {
    [still.hidden, video.hidden] = [true, false];
  }
}

async function watch() {
  for (;;) {
    await new Promise(requestAnimationFrame); // none comes while the page is hidden
    if (held) continue;
    const began = performance.now();
    draw(video, frame, MOST);
    shape(frame);
    const answered = await look(frame);
    if (!answered || onServer()) await wait(answered ? PAUSE : BUSY);
    const now = 1000 / (performance.now() - began);
    pace = pace ? SETTLE * pace + (1 - SETTLE) * now : now;
  }
}

function shape({ width, height }) {
  at("view").style.setProperty("--ratio", width / height);
  at("view").hidden = false;
}

async function takePhoto() {
  const [file] = at("photo").files;
  at("photo").value = "";
  if (!file) return;
  try {
    draw(await ofFile(file), frame, MOST);
  } catch {
    say(texts.not_an_image);
    return;
  }
  hold(true);
  shape(frame);
  await look(frame);
}

async function sendBack() {
  hold(true);
  at("wrong").disabled = true;
  say(texts.sending);
  try {
    await server.sendBack(frame);
    say(texts.sent);
  } catch (error) {
    say(error.message);
    at("wrong").disabled = false;
  }
}

async function openModel() {
  if (!config.device) return;
  say(texts.loading);
  try {
    phone = await Phone.open(server.base, config.device);
    at("where").hidden = false;
    say("");
  } catch (error) {
    say(filled(texts.too_old, { reason: error.message }));
  }
}

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    say(isSecureContext ? filled(texts.no_camera, { reason: "mediaDevices" }) : texts.no_https);
    return;
  }
  say(texts.camera);
  try {
    await startCamera(video, ACROSS[config.reads ? "texts" : "classes"]);
  } catch (error) {
    say(filled(texts.no_camera, { reason: error.name }));
    return;
  }
  say("");
  at("hold").hidden = false;
  hold(false);
  watch();
}

async function start() {
  const until = at("until");
  until.textContent = new Date(until.dateTime).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  try {
    config = await server.config();
  } catch (error) {
    say(error.message);
    return;
  }
  texts = server.texts = config.texts;
  at("photo").addEventListener("change", takePhoto);
  at("wrong")?.addEventListener("click", sendBack);
  at("hold").addEventListener("click", () => hold(!held));
  at("where").addEventListener("change", () => { pace = 0; if (held && frame.width) look(frame); });
  await openModel();
  await openCamera();
  document.documentElement.dataset.state = "ready";
}

start();

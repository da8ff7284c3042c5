// A field that leaves of a long list only the rows whose text has what is typed, whatever its case.
addEventListener("DOMContentLoaded", () => {
  for (const field of document.querySelectorAll("input[data-searches]")) {
    const rows = [...document.querySelectorAll(field.dataset.searches)];
    const count = field.parentElement.querySelector("output");
    const show = () => {
      const wanted = field.value.trim().toLocaleLowerCase();
      for (const row of rows) row.hidden = !row.querySelector("bdi").textContent.toLocaleLowerCase().includes(wanted);
      count.textContent = wanted ? rows.filter((row) => !row.hidden).length : "";
    };
    field.parentElement.hidden = false; // without scripts it would do nothing
    field.addEventListener("input", show);
    show(); // a browser may have kept what was typed before the page was loaded again
  }
});

// The slider over the confidences of a model: shows what is answered from there on, and how much of it rightly.
addEventListener("DOMContentLoaded", () => {
  const place = document.querySelector(".threshold");
  if (!place) return;
  const levels = JSON.parse(place.dataset.levels);
  const [slider, output, line] = ["input", "output", ".at"].map((name) => place.querySelector(name));
  const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);
  const show = () => {
    const level = levels[slider.value];
    output.textContent = (slider.value / 100).toFixed(2);
    for (const cell of place.querySelectorAll("[data-name]")) cell.textContent = percent(level[cell.dataset.name]);
    for (const end of ["x1", "x2"]) line.setAttribute(end, 3 * slider.value);
  };
  slider.hidden = false;
  slider.addEventListener("input", show);
  show(); // a browser may have kept where the slider was before the page was loaded again
});

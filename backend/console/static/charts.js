// Draws every `.chart`: `data-x` are moments in seconds, `data-series` the curves over them.
(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colours = { primary: "--tblr-primary", red: "--tblr-red", orange: "--tblr-orange" };
  const clock = uPlot.fmtDate("{HH}:{mm}");
  const draw = (place) => {
    if (place.childElementCount) return;
    const x = JSON.parse(place.dataset.x);
    const series = JSON.parse(place.dataset.series);
    const text = style("--tblr-body-color");
    const axis = { stroke: text, grid: { stroke: style("--tblr-border-color"), width: 1 }, ticks: { show: false }, font: "12px sans-serif" };
    const paths = place.dataset.bars ? uPlot.paths.bars({ size: [0.7, 40] }) : undefined;
    const options = {
      width: place.clientWidth,
      height: 200,
      axes: [{ ...axis, values: (plot, moments) => moments.map((moment) => clock(new Date(1000 * moment))), space: 60 }, { ...axis, size: 56 }],
      scales: { y: { range: (plot, low, high) => [0, Math.max(1, high * 1.1)] } },
      series: [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...series.map(({ label, colour }) => ({
        label, paths, stroke: style(colours[colour]), width: 2, spanGaps: false, points: { show: !paths, size: 5 },
        fill: paths && style(colours[colour]),
      }))],
    };
    const plot = new uPlot(options, [x, ...series.map(({ values }) => values)], place);
    new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 200 })).observe(place);
  };
  const drawAll = (root) => root.querySelectorAll(".chart").forEach(draw);
  addEventListener("DOMContentLoaded", () => {
    drawAll(document);
    document.body.addEventListener("htmx:afterSettle", () => drawAll(document));
  });
})();

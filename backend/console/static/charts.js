// Draws every `.chart`: `data-x` are moments in seconds, `data-series` the curves over them. It spans the time from
// `data-from` to `data-until`, however much of that is known.
(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colours = { primary: "--tblr-primary", red: "--tblr-red", orange: "--tblr-orange" };
  const whole = [1, 10, 100, 1e3, 1e4, 1e5, 1e6].flatMap((power) => [power, 2 * power, 5 * power]);
  const HEIGHT = 200;
  const clock = uPlot.fmtDate("{HH}:{mm}");
  const draw = (place) => {
    if (place.childElementCount) return;
    const x = JSON.parse(place.dataset.x);
    const series = JSON.parse(place.dataset.series);
    const text = style("--tblr-body-color");
    const grid = { stroke: style("--tblr-border-color"), width: 1 };
    const axis = { stroke: text, grid, ticks: { show: false }, font: "12px sans-serif" };
    const paths = place.dataset.bars ? uPlot.paths.bars({ size: [0.7, 40] }) : undefined;
    const clocks = (plot, moments) => moments.map((moment) => clock(new Date(1000 * moment)));
    const options = {
      width: place.clientWidth,
      height: HEIGHT,
      axes: [{ ...axis, values: clocks, space: 60 }, { ...axis, size: 56, ...(paths && { incrs: whole }) }],
      scales: {
        x: { range: () => [Number(place.dataset.from), Number(place.dataset.until)] },
        y: { range: (plot, low, high) => [0, Math.max(1, high * 1.1)] },
      },
      series: [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...series.map(({ label, colour }) => ({
        label, paths, stroke: style(colours[colour]), width: 2, points: { show: !paths, size: 5 },
        fill: paths && style(colours[colour]),
      }))],
    };
    const plot = new uPlot(options, [x, ...series.map(({ values }) => values)], place);
    new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
  };
  const drawAll = (root) => root.querySelectorAll(".chart").forEach(draw);
  addEventListener("DOMContentLoaded", () => {
    drawAll(document);
    document.body.addEventListener("htmx:afterSettle", () => drawAll(document));
  });
})();

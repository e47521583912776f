// Charts by Vega-Lite. The library is packed in the page and unpacked for the first chart that is looked at.
const chartSpecs = JSON.parse(document.querySelector("[data-chart-specs]")?.textContent ?? "null");
let library = null;
const inflate = async (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
};
const loadLibrary = () => {
  library ??= inflate(document.querySelector("[data-chart-library]").textContent).then((code) => {
    const script = document.createElement("script");
    script.textContent = code;
    document.head.append(script);
  });
  return library;
};

const drawChart = async (place, spec, datasets, words) => {
  await loadLibrary();
  const chart = { ...structuredClone(spec), datasets, description: words };
  // The interpreter does without eval, which the page's policy forbids.
  await vegaEmbed(place, chart, { renderer: "svg", actions: false, ast: true, tooltip: { theme: "custom" } });
  place.querySelector("svg")?.setAttribute("aria-label", words);
  if (place.scrollWidth > place.clientWidth) place.tabIndex = 0;
};

const streamNames = (series) => series.map((one) => {
  const name = `${one.from} → ${one.to ?? "nowhere"}`;
  const alike = series.filter((other) => other.from === one.from && other.to === one.to);
  return alike.length > 1 ? `${name} (${one.ssrc.toString(16).padStart(8, "0")})` : name;
});

const chartData = (series) => {
  const names = streamNames(series);
  const all = (key, more = {}) => series.flatMap((one, at) => one[key].map(([t, v, packets]) => ({ stream: names[at], t, v, packets, ...more })));
  return {
    delay: all("delay"),
    jitter: [...all("delay_change", { what: "mean delay change" }), ...all("jitter", { what: "interarrival jitter" })],
    loss: all("loss"),
    distribution: series.flatMap((one, at) => Object.entries(one.segments).flatMap(([segment, { points }]) =>
      points.map(([delay, share]) => ({ stream: names[at], segment, ms: delay, share })))),
  };
};

// Which limit is a line in which chart. Loss has one only where a window is as long as the target's.
const CHART_LIMITS = {
  delay: ["one_way_delay_ms", "p90 below"], jitter: ["delay_change_15s_ms", "mean of any 15 s below"], loss: ["burst_loss_200ms_percent", "any 200 ms below"],
};
const chartTargets = (place, chart, series) => {
  const [wanted, words] = CHART_LIMITS[chart] ?? [];
  if (chart === "loss" && series.some((one) => one.window_ms !== 200)) return [];
  const limits = JSON.parse(place.dataset.targets).filter((one) => one.figure === wanted && series.some((each) => each.path === one.path));
  return limits.map(({ limit, name }) => ({ limit, words: `${name}: ${words} ${limit}` }));
};

const drawCharts = async (root, data) => {
  const place = root.closest("details.scenario").querySelector("[data-charts]");
  if (!place || !chartSpecs || !data.series.length) return;
  const points = chartData(data.series);
  for (const figure of place.querySelectorAll("[data-chart]")) {
    const chart = figure.dataset.chart;
    const values = points[chart];
    if (!values.length) { figure.textContent = `${figure.dataset.words}: not measured`; continue; }
    const spec = { ...chartSpecs[chart] };
    if (chart === "loss") spec.title = `Loss per window of ${Math.max(...data.series.map((one) => one.window_ms ?? 0))} ms`;
    const words = `${figure.dataset.words} of ${streamNames(data.series).join(", ")}; the figures are in the tables below`;
    await drawChart(figure, spec, { points: values, targets: chartTargets(place, chart, data.series) }, words);
  }
  place.dataset.state = "done";
};

const drawBoxes = async (boxes) => {
  if (boxes.dataset.state) return;
  boxes.dataset.state = "drawing";
  const place = boxes.querySelector("[data-chart]");
  const points = JSON.parse(boxes.querySelector("script").textContent);
  await drawChart(place, chartSpecs.boxes, { points }, place.dataset.words);
  boxes.dataset.state = "done";
};

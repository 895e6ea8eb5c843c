// Plots of the samples in the window, which is the last minute or the last ten.
const WIDTH = 600, HEIGHT = 100;
const ORDINALS = ["first", "second", "third"];
// A state is the worst of the last STATE_SAMPLES, so that it stays long enough to be read.
const STATE_SAMPLES = 10;
// A few samples, or this share of them, may exceed the axis if they are far greater than all others.
const CLIPPED_PART = 0.02, CLIPPED_SAMPLES = 3, CLIPPED_RATIO = 3;
const WINDOWS = {
  60: {ago: "1 min ago", half: "30 s", spoken: "in the last minute", lines: 6},
  600: {ago: "10 min ago", half: "5 min", spoken: "in the last ten minutes", lines: 10},
};

function makePlot(plot) {
  const section = make("section", element("plots"));
  section.setAttribute("aria-label", plot.title);
  const title = make("h2", section);
  title.append(plot.title);
  plot.stateAt = make("span", title, {className: "state", hidden: true});
  const list = make("dl", section);
  plot.lines = [...plot.series, ...(plot.more || [])].map((series, place) => {
    const isPlotted = place < plot.series.length;
    const row = make("div", list, {className: isPlotted ? ORDINALS[place] : "unplotted"});
    make("dt", row, {textContent: series.label});
    const format = FORMATS[series.format || plot.format];
    return {...series, text: (value) => format(value, plot.axis), isPlotted, value: make("dd", row)};
  });
  const figure = make("figure", section);
  const place = make("div", figure, {className: "plot"});
  plot.svg = makeSvg("svg", place, {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img"});
  plot.outages = makeSvg("path", plot.svg, {class: "outage"});
  plot.grid = makeSvg("path", plot.svg, {class: "grid"});
  makeSvg("path", plot.svg, {class: "axis", d: `M0 ${HEIGHT - 0.5}H${WIDTH}`});
  if (plot.series.length === 1) plot.area = makeSvg("path", plot.svg, {class: "area"});
  // The first lies on top.
  for (const [place, line] of [...plot.lines.entries()].reverse()) {
    if (line.isPlotted) line.path = makeSvg("path", plot.svg, {class: ORDINALS[place]});
  }
  plot.clipped = makeSvg("path", plot.svg, {class: "clipped"});
  plot.cursor = makeSvg("path", plot.svg, {class: "cursor"});
  plot.top = make("span", place, {className: "mark top"});
  plot.peak = make("span", place, {className: "mark peak", hidden: true});
  if (plot.axis.isLogarithmic) make("span", place, {className: "mark bottom", textContent: constant(seconds(plot.axis.least))});
  const caption = make("figcaption", figure);
  plot.ago = make("span", caption);
  plot.half = make("span", caption);
  make("span", caption, {textContent: "now"});
  plot.svg.addEventListener("pointermove", (event) => {
    const box = plot.svg.getBoundingClientRect();
    setCursor(Math.round(((event.clientX - box.left) / box.width - 1) * windowSeconds));
  });
  plot.svg.addEventListener("pointerleave", () => setCursor(0));
}

/** Return a round number that is not less. */
function roundUp(number) {
  const size = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].find((step) => step * size >= number * 0.9999) * size;
}

const valueOf = (sample, line) => line.of ? sample[line.column] / facts[line.of] : sample[line.column];

/** Return the greatest of a sample's values that a plot shows. */
const peakOf = (plot, sample) => Math.max(...plot.series.map((line) => valueOf(sample, line) || 0));

/** Return the top of the axis: without short spikes, which would flatten all other values. */
function highest(peaks, least) {
  const most = Math.max(least, ...peaks);
  const ascending = peaks.filter((peak) => peak > 0).sort((one, other) => one - other);
  const spikes = Math.max(CLIPPED_SAMPLES, Math.ceil(ascending.length * CLIPPED_PART));
  if (ascending.length < 4 * spikes) return most;
  const usual = Math.max(least, ascending.at(-1 - spikes));
  return most > CLIPPED_RATIO * usual ? usual : most;
}

function scaleOf(plot, inWindow) {
  const {axis} = plot;
  if (axis.isLogarithmic) {
    const least = Math.log10(axis.least), range = Math.log10(axis.most) - least;
    const place = (value) => Math.min(1, Math.max(0, (Math.log10(value) - least) / range));
    return {top: axis.most, part: (value) => value > 0 ? place(value) : 0, lines: Array.from({length: range - 1}, (_, line) => (line + 1) / range)};
  }
  const top = axis.most || roundUp(highest(inWindow.map((sample) => peakOf(plot, sample)), axis.least || 0));
  return {top, part: (value) => Math.min(1, value / top), lines: [0.5], isClipping: !axis.most};
}

/** Draw a plot of some samples, with the numbers of one of them. */
function drawPlot(plot, inWindow, x, last, shown) {
  const scale = scaleOf(plot, inWindow);
  const y = (value) => (1 - scale.part(value)) * (HEIGHT - 3) + 1.5;
  const words = WINDOWS[windowSeconds];
  const times = Array.from({length: words.lines - 1}, (_, line) => `M${(line + 1) * WIDTH / words.lines} 0V${HEIGHT}`);
  plot.grid.setAttribute("d", times.join("") + scale.lines.map((part) => `M0 ${(1 - part) * HEIGHT}H${WIDTH}`).join(""));
  write(plot.top, constant((plot.format === "latency" ? seconds : FORMATS[plot.format])(scale.top)));
  write(plot.ago, words.ago);
  write(plot.half, words.half);
  const spoken = [];
  for (const line of plot.lines) {
    const value = valueOf(shown, line);
    write(line.value, value === null || Number.isNaN(value) ? plot.idle || NONE : line.text(value));
    if (!line.isPlotted) continue;
    const runs = runsOf(inWindow, line, x, y);
    line.path.setAttribute("d", runs.map(pathOf).join(""));
    if (plot.area) plot.area.setAttribute("d", runs.map(areaOf).join(""));
    spoken.push(`${line.label}: ${rangeOf(inWindow, line)}`);
  }
  drawClipped(plot, scale.isClipping ? inWindow.filter((sample) => peakOf(plot, sample) > scale.top) : [], x);
  plot.cursor.setAttribute("d", shown === last ? "" : `M${x(shown.at)} 0V${HEIGHT}`);
  plot.svg.setAttribute("aria-label", `${plot.title} ${words.spoken}; ${spoken.join("; ")}`);
  const states = samples.slice(-STATE_SAMPLES).map((sample) => stateOf(plot.states || [], sample)).filter(Boolean);
  const worst = states.find(({level}) => level === "bad") || states.at(-1);
  plot.stateAt.hidden = !worst;
  if (worst) setState(plot.stateAt, worst.level, worst.word);
}

/** Mark the samples that exceed the axis, and write the greatest number of them. */
function drawClipped(plot, clipped, x) {
  plot.clipped.setAttribute("d", clipped.map((sample) => `M${x(sample.at).toFixed(1)} 0V9`).join(""));
  plot.peak.hidden = !clipped.length;
  if (!clipped.length) return;
  const greatest = clipped.reduce((one, other) => peakOf(plot, other) > peakOf(plot, one) ? other : one);
  write(plot.peak, "▲ " + FORMATS[plot.format](peakOf(plot, greatest), plot.axis));
  // Beside the spike, on the side that has room, and never on the number of the axis.
  const part = x(greatest.at) / WIDTH;
  plot.peak.style.left = part < 0.6 ? `calc(max(${100 * part}%, 4.5rem) + 4px)` : "auto";
  plot.peak.style.right = part < 0.6 ? "auto" : `calc(${100 - 100 * part}% + 4px)`;
}

/** Return the first state that applies: the sum of its columns is in its range. */
function stateOf(states, sample) {
  return states.find(({columns = [], least = -Infinity, most = Infinity}) => {
    const sum = columns.reduce((total, name) => total + Number(sample[name]), 0);
    return sum >= least && sum <= most;
  });
}

/** Return the points of a series, in runs between unknown values. */
function runsOf(inWindow, line, x, y) {
  const runs = [];
  let before = null;
  for (const sample of inWindow) {
    const value = valueOf(sample, line);
    const isKnown = value !== null && value !== undefined;
    if (isKnown) {
      const point = [x(sample.at).toFixed(1), y(value).toFixed(1)];
      const isNext = before !== null && sample.at > before && sample.at - before < 3;
      // A single value is a dash as long as its second.
      if (isNext) runs.at(-1).push(point);
      else runs.push([[x(sample.at - 1).toFixed(1), point[1]], point]);
    }
    before = isKnown ? sample.at : null;
  }
  return runs;
}

const pathOf = (run) => "M" + run.map((point) => point.join(" ")).join("L");
const areaOf = (run) => `${pathOf(run)}V${HEIGHT}H${run[0][0]}Z`;

function rangeOf(inWindow, line) {
  const values = inWindow.map((sample) => valueOf(sample, line)).filter((value) => value !== null && value !== undefined);
  if (!values.length) return "no values";
  return `now ${line.value.textContent}, from ${line.text(Math.min(...values))} to ${line.text(Math.max(...values))}`;
}

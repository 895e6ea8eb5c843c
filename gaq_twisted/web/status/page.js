
"use strict";
// The server sends rows of numbers, one a second, beginning with those of the last ten minutes.
// All texts are made from these; nothing that the server sends is used as markup.
const WIDTH = 600, HEIGHT = 100;
const STALE_MS = 3500;
const RETRY_MS = 5000;
const DAY_SECONDS = 86400;
const NONE = "–";
const ORDINALS = ["first", "second", "third"];
const element = (id) => document.getElementById(id);

// Numbers as text, each with its unit.

const grouped = (number) => Math.round(number).toLocaleString("en");

function scaled(number, unit) {
  const steps = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
  const [size, prefix] = steps.find(([least]) => number >= least) || steps[3];
  const value = number / size;
  return (Number.isInteger(value) || value >= 100 ? grouped(value) : value.toFixed(value >= 10 ? 1 : 2)) + " " + prefix + unit;
}

const count = (number) => number < 1e6 ? grouped(number) : scaled(number, "");
const rate = (number) => number < 1e5 ? digits(number) + " /s" : scaled(number, "/s");
const bytes = (number) => scaled(number, "B");
const byteRate = (number) => scaled(number, "B/s");
const percent = (part) => digits(part * 100) + " %";

const digits = (number) => number >= 9.95 || number === 0 ? grouped(number) : number.toFixed(1);
/** Leave out meaningless digits, where a number does not change. */
const constant = (text) => text.replace(".0 ", " ");
const seconds = (number) => number < 0.9995 ? digits(number * 1000) + " ms" : digits(number) + " s";

function latency(number, axis) {
  // Beyond the ends of the axis nothing is known.
  if (number <= axis.least) return "≤ " + constant(seconds(axis.least));
  return (number >= axis.most ? "≥ " : "") + seconds(number);
}

function span(number) {
  const days = Math.floor(number / DAY_SECONDS);
  const parts = [[Math.floor(number % DAY_SECONDS / 3600), "h"], [Math.floor(number % 3600 / 60), "min"], [Math.floor(number % 60), "s"]];
  if (days) return days + " d " + parts[0].join(" ");
  const start = parts.findIndex(([value]) => value);
  return start < 0 ? "0 s" : parts.slice(start, start + 2).map((part) => part.join(" ")).join(" ");
}

const time = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
const day = (at) => new Date(at * 1000).toLocaleString("sv-SE").slice(0, 16);

const FORMATS = {count, rate, bytes, byteRate, percent, seconds, latency, text: String};

// The server describes what is plotted and listed (gaq_twisted/core/dashboard.py).
// A state is the worst of the last STATE_SAMPLES, so that it stays long enough to be read.
const STATE_SAMPLES = 10;

// What the server has sent.

let facts = {fields: [], keptSeconds: 600, reasons: {}, up: []};
let page = {plots: [], tiles: [], process: []};
let samples = [];
let state = {reasons: [], cursor: ""};
let link = "connecting";
let heardAt = -Infinity;
let shape = null;
let source = null;
let isNewSource = true;

function connect() {
  source = new EventSource("status/events");
  isNewSource = true;
  source.addEventListener("hello", (event) => hello(JSON.parse(event.data)));
  source.addEventListener("samples", (event) => take(JSON.parse(event.data)));
  source.addEventListener("lists", (event) => showLists(JSON.parse(event.data)));
  source.onerror = () => {
    const isRefused = source.readyState === EventSource.CLOSED;
    setLink(isRefused ? "refused" : "lost");
    // After an answer that is not a stream, the browser does not try again by itself.
    if (isRefused) setTimeout(connect, RETRY_MS);
  };
}

function hello(data) {
  // Another version, or other settings, may have another page.
  const itsShape = JSON.stringify([data.version, data.plots, data.tiles, data.process, data.up]);
  if (shape === null) makePage(data);
  else if (shape !== itsShape) location.reload();
  shape = itsShape;
  // Only a source that reconnects reports to the server what it has.
  if (isNewSource || data.startedAt !== facts.startedAt) samples = [];
  isNewSource = false;
  facts = data;
  element("version").textContent = data.version;
  element("started").textContent = day(data.startedAt);
}

function take(data) {
  for (const row of data.samples) {
    samples.push(Object.fromEntries(facts.fields.map((name, place) => [name, row[place]])));
  }
  samples.splice(0, samples.length - facts.keptSeconds);
  state = data.state;
  heardAt = performance.now();
  setLink("live");
  requestAnimationFrame(draw);
}

function setLink(now) {
  link = now;
  showLink();
}

function showLink() {
  const last = samples.at(-1);
  const silentMs = performance.now() - heardAt;
  const isLive = link === "live" && silentMs < STALE_MS;
  const why = {connecting: "connecting", lost: "reconnecting", live: "waiting",
    refused: "the server refuses: too many pages may be open; trying again"}[link];
  document.body.dataset.link = isLive ? "live" : link === "live" ? "stale" : link;
  write(element("link"), isLive ? "live" : why);
  write(element("silence"), isLive || !last ? "" : `no data for ${span(silentMs / 1000)}`);
  if (isLive) return;
  showTitle("no data", "bad");
  // The last known state need not be the present one.
  if (last) setState(element("readiness"), "unknown", "was " + readinessOf(last)[1]);
}

// Drawing.

/** Set a text if it differs, so that screen readers report a status only when it changes. */
function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

function setState(place, level, word) {
  write(place, word);
  place.dataset.level = level;
}

function make(name, parent, more = {}) {
  const made = document.createElement(name);
  parent.append(Object.assign(made, more));
  return made;
}

function makeSvg(name, parent, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

function makePage(data) {
  page = data;
  page.tiles.forEach(makeTile);
  makeRows(page.process, document.querySelector("#process dl"));
  page.plots.forEach(makePlot);
  for (const id of ["outage", "outage-label"]) element(id).hidden = !data.up.length;
}

function makeTile(tile) {
  const section = document.createElement("section");
  element("process").before(section);
  const id = tile.title.toLowerCase().replaceAll(" ", "-");
  section.setAttribute("aria-labelledby", id + "-title");
  const title = make("h2", section, {id: id + "-title", textContent: tile.title + " "});
  tile.stateAt = make("span", title, {id, className: "state", textContent: "unknown"});
  makeRows(tile.rows, make("dl", section));
}

function makeRows(rows, list) {
  for (const row of rows) {
    const place = make("div", list);
    make("dt", place, {textContent: row.label});
    row.value = make("dd", place, {id: row.column, textContent: NONE});
  }
}

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
  plot.cursor = makeSvg("path", plot.svg, {class: "cursor"});
  plot.top = make("span", place, {className: "mark top"});
  if (plot.axis.isLogarithmic) make("span", place, {className: "mark bottom", textContent: constant(seconds(plot.axis.least))});
  const caption = make("figcaption", figure);
  make("span", caption, {textContent: "10 min ago"});
  make("span", caption, {textContent: "5 min"});
  make("span", caption, {textContent: "now"});
  plot.svg.addEventListener("pointermove", (event) => {
    const box = plot.svg.getBoundingClientRect();
    setCursor(Math.round(((event.clientX - box.left) / box.width - 1) * facts.keptSeconds));
  });
  plot.svg.addEventListener("pointerleave", () => setCursor(0));
}

/** Return a round number that is not less. */
function roundUp(number) {
  const size = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].find((step) => step * size >= number * 0.9999) * size;
}

const valueOf = (sample, line) => line.of ? sample[line.column] / facts[line.of] : sample[line.column];

function scaleOf({axis, series}) {
  if (axis.isLogarithmic) {
    const least = Math.log10(axis.least), range = Math.log10(axis.most) - least;
    const place = (value) => Math.min(1, Math.max(0, (Math.log10(value) - least) / range));
    return {top: axis.most, part: (value) => value > 0 ? place(value) : 0, lines: Array.from({length: range - 1}, (_, line) => (line + 1) / range)};
  }
  const values = samples.flatMap((sample) => series.map((line) => valueOf(sample, line) || 0));
  const top = axis.most || roundUp(Math.max(axis.least, ...values));
  return {top, part: (value) => Math.min(1, value / top), lines: [0.5]};
}

function draw() {
  const last = samples.at(-1);
  if (!last) return;
  const shown = shownSample();
  const x = (at) => (1 + (at - last.at) / facts.keptSeconds) * WIDTH;
  const outages = samples.filter((sample) => facts.up.some((name) => !sample[name])).map((sample) => `M${(x(sample.at) - 1).toFixed(1)} 0V${HEIGHT}h1V0Z`).join("");
  showFacts(last);
  for (const plot of page.plots) {
    drawPlot(plot, x, last, shown);
    plot.outages.setAttribute("d", outages);
  }
}

function drawPlot(plot, x, last, shown) {
  const scale = scaleOf(plot);
  const y = (value) => (1 - scale.part(value)) * (HEIGHT - 3) + 1.5;
  const minutes = Array.from({length: 9}, (_, minute) => `M${(minute + 1) * WIDTH / 10} 0V${HEIGHT}`);
  plot.grid.setAttribute("d", minutes.join("") + scale.lines.map((part) => `M0 ${(1 - part) * HEIGHT}H${WIDTH}`).join(""));
  write(plot.top, constant((plot.format === "latency" ? seconds : FORMATS[plot.format])(scale.top)));
  const spoken = [];
  for (const line of plot.lines) {
    const value = valueOf(shown, line);
    write(line.value, value === null || Number.isNaN(value) ? plot.idle || NONE : line.text(value));
    if (!line.isPlotted) continue;
    const runs = runsOf(line, x, y);
    line.path.setAttribute("d", runs.map(pathOf).join(""));
    if (plot.area) plot.area.setAttribute("d", runs.map(areaOf).join(""));
    spoken.push(`${line.label}: ${rangeOf(line)}`);
  }
  plot.cursor.setAttribute("d", shown === last ? "" : `M${x(shown.at)} 0V${HEIGHT}`);
  plot.svg.setAttribute("aria-label", `${plot.title} in the last ten minutes; ${spoken.join("; ")}`);
  const states = samples.slice(-STATE_SAMPLES).map((sample) => stateOf(plot.states || [], sample)).filter(Boolean);
  const worst = states.find(({level}) => level === "bad") || states.at(-1);
  plot.stateAt.hidden = !worst;
  if (worst) setState(plot.stateAt, worst.level, worst.word);
}

/** Return the first state that holds: the sum of its columns is in its range. */
function stateOf(states, sample) {
  return states.find(({columns = [], least = -Infinity, most = Infinity}) => {
    const sum = columns.reduce((total, name) => total + Number(sample[name]), 0);
    return sum >= least && sum <= most;
  });
}

/** Return the points of a series, in runs between unknown values. */
function runsOf(line, x, y) {
  const runs = [];
  let before = null;
  for (const sample of samples) {
    const value = valueOf(sample, line);
    const isKnown = value !== null && value !== undefined;
    if (isKnown) {
      const point = [x(sample.at).toFixed(1), y(value).toFixed(1)];
      const isNext = before !== null && sample.at > before && sample.at - before < 3;
      // A value that stands alone is a dash as long as its second.
      if (isNext) runs.at(-1).push(point);
      else runs.push([[(point[0] - 1).toFixed(1), point[1]], point]);
    }
    before = isKnown ? sample.at : null;
  }
  return runs;
}

const pathOf = (run) => "M" + run.map((point) => point.join(" ")).join("L");
const areaOf = (run) => `${pathOf(run)}V${HEIGHT}H${run[0][0]}Z`;

function rangeOf(line) {
  const values = samples.map((sample) => valueOf(sample, line)).filter((value) => value !== null && value !== undefined);
  if (!values.length) return "no values";
  return `now ${line.value.textContent}, from ${line.text(Math.min(...values))} to ${line.text(Math.max(...values))}`;
}

function readinessOf(sample) {
  if (sample.isDraining) return ["warn", "draining"];
  return state.reasons.length ? ["bad", "not ready: " + state.reasons[0]] : ["good", "ready"];
}

function showFacts(sample) {
  const [level, word] = readinessOf(sample);
  setState(element("readiness"), level, word);
  const values = {...sample, ...state};
  for (const tile of page.tiles) {
    const {level, word} = stateOf(tile.states, sample);
    setState(tile.stateAt, level, word);
    showRows(tile.rows, values);
  }
  showRows(page.process, values);
  write(element("uptime"), span(sample.at - facts.startedAt));
  showTitle(word, level);
}

function showRows(rows, values) {
  for (const row of rows) {
    const value = values[row.column];
    if (value === null || value === undefined || value === "") write(row.value, row.none || NONE);
    else if (value === 0 && row.zero) write(row.value, row.zero);
    else write(row.value, FORMATS[row.format](value) + (row.suffix || ""));
  }
}

let shownLevel = "";

function showTitle(word, level) {
  const last = samples.at(-1);
  const title = `${word} – ${last ? count(last.sockets) + " sockets – " : ""}${location.host}`;
  if (document.title !== title) document.title = title;
  if (level === shownLevel) return;
  shownLevel = level;
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--" + level).trim();
  const dot = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${colour}"/></svg>`;
  document.querySelector("link[rel=icon]").href = "data:image/svg+xml," + encodeURIComponent(dot);
}

function showLists(data) {
  fill("refusals", data.refusals.map((row) => [
    [time(row.at)],
    [count(row.count), "number"],
    [row.code === null ? row.kind : `${row.kind} ${row.code}`],
    [facts.reasons[row.reason] || row.reason.replaceAll("_", " ")],
    [row.peer],
  ]));
  fill("notes", data.notes.map((row) => [
    [time(row.at)],
    [row.count > 1 ? `${row.kind} × ${count(row.count)}` : row.kind, "state", row.level],
    [row.text],
  ]));
}

function fill(id, rows) {
  element("no-" + id).hidden = rows.length > 0;
  element(id).replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    for (const [text, kind, level] of cells) {
      const cell = make("td", row);
      if (level) setState(make("span", cell, {className: kind}), level, text);
      else Object.assign(cell, {textContent: text, className: kind || ""});
    }
    return row;
  }));
}

// The time whose values are shown.

let cursorSeconds = 0;

function setCursor(secondsAgo) {
  cursorSeconds = Math.max(-facts.keptSeconds, Math.min(0, secondsAgo));
  element("cursor-time").value = cursorSeconds;
  draw();
}

function shownSample() {
  const last = samples.at(-1);
  const at = last.at + cursorSeconds;
  const shown = cursorSeconds ? samples.findLast((sample) => sample.at <= at) || samples[0] : last;
  const text = shown === last ? `now, ${time(last.at)}` : `${time(shown.at)}, ${span(last.at - shown.at)} ago`;
  write(element("shown-time"), text);
  element("cursor-time").setAttribute("aria-valuetext", text);
  return shown;
}

element("host").textContent = location.host;
element("cursor-time").addEventListener("input", (event) => setCursor(Number(event.target.value)));
setInterval(showLink, 1000);
connect();

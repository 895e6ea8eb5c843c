// The server sends a row of numbers each second, starting with those of the last ten minutes.
// All texts are built from these; nothing that the server sends is used as markup.
const STALE_MS = 3500;
const RETRY_MS = 5000;
const EXPIRY_WARN_SECONDS = 14 * DAY_SECONDS;
// How many rows of a list a phone shows until all are requested.
const FEW_ROWS = 5;
const element = (id) => document.getElementById(id);

// The server describes what is plotted and listed (gaq_twisted/core/dashboard.py).

// What the server has sent.

let facts = {fields: [], keptSeconds: 600, reasons: {}, up: []};
let server = {certificates: []};
let page = {plots: [], tiles: [], process: []};
let samples = [];
let state = {reasons: [], cursor: ""};
let link = "connecting";
let heardAt = -Infinity;
let shape = null;
let source = null;
let isNewSource = true;

function connect() {
  const on = {hello, samples: take, lists: showLists, server: showServer, link: setLink, open: opened};
  opened(follow("status/events", on));
}

function opened(made) {
  source = made;
  isNewSource = true;
}

function hello(data) {
  // Another version, or other settings, may need another page.
  const itsShape = JSON.stringify([data.version, data.plots, data.tiles, data.process, data.up]);
  if (shape === null) makePage(data);
  else if (shape !== itsShape) location.reload();
  shape = itsShape;
  // Only a source that reconnects reports to the server its last sample.
  if (isNewSource || data.startedAt !== facts.startedAt) samples = [];
  isNewSource = false;
  facts = data;
  element("version").textContent = data.version;
  element("started").textContent = day(data.startedAt);
}

const named = (fields, row) => Object.fromEntries(fields.map((name, place) => [name, row[place]]));

function take(data) {
  for (const row of data.samples) samples.push(named(facts.fields, row));
  samples.splice(0, samples.length - facts.keptSeconds);
  state = data.state;
  heardAt = performance.now();
  // For a server that has just started, ten minutes would be an empty plot.
  if (windowSeconds === null) setWindow(samples.length < 120 ? 60 : 600);
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
    refused: "rejected by the server: perhaps too many pages are open; retrying"}[link];
  document.body.dataset.link = isLive ? "live" : link === "live" ? "stale" : link;
  write(element("link"), isLive ? "live" : why);
  write(element("silence"), isLive || !last ? "" : `no data for ${span(silentMs / 1000)}`);
  if (isLive) return;
  showTitle("no data", "bad");
  // The last known state may not be the present one.
  if (last) setState(element("readiness"), "unknown", "was " + readinessOf(last, state)[1]);
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

function draw() {
  const last = samples.at(-1);
  if (!last) return;
  const shown = shownSample();
  const x = (at) => (1 + (at - last.at) / windowSeconds) * WIDTH;
  const inWindow = samples.filter((sample) => sample.at > last.at - windowSeconds);
  const wide = (WIDTH / windowSeconds).toFixed(1);
  const down = inWindow.filter((sample) => facts.up.some((name) => !sample[name]));
  const outages = down.map((sample) => `M${x(sample.at - 1).toFixed(1)} 0V${HEIGHT}h${wide}V0Z`).join("");
  showFacts(last);
  for (const plot of page.plots) {
    drawPlot(plot, inWindow, x, last, shown);
    plot.outages.setAttribute("d", outages);
  }
}

function readinessOf(sample, state) {
  if (sample.isDraining) return ["warn", "draining"];
  return state.reasons.length ? ["bad", "not ready: " + state.reasons[0]] : ["good", "ready"];
}

function showFacts(sample) {
  const [level, word] = readinessOf(sample, state);
  setState(element("readiness"), level, word);
  const values = {...facts, ...sample, ...state};
  for (const tile of page.tiles) {
    const {level, word} = stateOf(tile.states, sample);
    setState(tile.stateAt, level, word);
    showRows(tile.rows, values);
  }
  showRows(page.process, values);
  write(element("uptime"), span(sample.at - facts.startedAt));
  showExpiry(sample.at);
  showTitle(word, level);
}

function showServer(data) {
  server = data;
  write(element("host"), `${server.host}, pid ${server.pid}`);
  write(element("memory"), server.memoryBytes === null ? NONE : bytes(server.memoryBytes));
  write(element("files"), `${server.openFiles === null ? NONE : count(server.openFiles)} of ${count(server.maxFiles)}`);
  write(element("listen"), server.listen.join(", "));
  element("expiry-row").hidden = !server.certificates.length;
  element("expiry-row").title = server.certificates.map((one) => `${one.endpoint}: ${day(one.expiresAt)}`).join("\n");
  element("warnings").hidden = !server.warnings.length;
  element("warning-list").replaceChildren(...server.warnings.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
}

/** Show when the first certificate expires. */
function showExpiry(now) {
  if (!server.certificates.length) return;
  const {expiresAt} = server.certificates[0];
  const left = expiresAt - now;
  const level = left <= 0 ? "bad" : left < EXPIRY_WARN_SECONDS ? "warn" : "good";
  const words = {bad: "expired", warn: `in ${span(left)}`, good: day(expiresAt).slice(0, 10)};
  setState(element("expiry"), level, words[level]);
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
  const title = `${word} – ${last ? count(last.sockets) + " sockets – " : ""}${location.host} – gaq-twisted`;
  if (document.title !== title) document.title = title;
  if (level === shownLevel) return;
  shownLevel = level;
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--" + level).trim();
  const dot = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${colour}"/></svg>`;
  document.querySelector("link[rel=icon]").href = "data:image/svg+xml," + encodeURIComponent(dot);
}

function showLists(data) {
  fill("rejections", data.rejections.map((row) => [
    [time(row.at)],
    [count(row.count), "number"],
    [row.code === null ? row.kind : `${row.kind} ${row.code}`],
    [facts.reasons[row.reason] || row.reason.replaceAll("_", " ")],
    [row.peer],
  ]));
  fill("incidents", data.incidents.map((row) => [
    [time(row.at)],
    [row.count > 1 ? `${row.kind} × ${count(row.count)}` : row.kind, "state", row.level],
    [row.text],
  ]));
}

function fill(id, rows) {
  element("no-" + id).hidden = rows.length > 0;
  const more = element("more-" + id);
  more.hidden = rows.length <= FEW_ROWS;
  if (more.getAttribute("aria-expanded") !== "true") write(more, `show all ${rows.length}`);
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

for (const id of ["rejections", "incidents"]) {
  const more = element("more-" + id);
  more.addEventListener("click", () => {
    const isOpen = more.getAttribute("aria-expanded") !== "true";
    more.setAttribute("aria-expanded", isOpen);
    write(more, isOpen ? "show fewer" : `show all ${element(id).rows.length}`);
  });
}

// The period of the plots, and the time whose values are shown.

const asked = /^#(1|10)min$/.exec(location.hash);
let windowSeconds = asked ? asked[1] * 60 : null;
let cursorSeconds = 0;

function setWindow(seconds) {
  windowSeconds = seconds;
  for (const choice of document.querySelectorAll("[name=window]")) choice.checked = choice.value === String(seconds);
  element("cursor-time").min = -seconds;
  setCursor(0);
}

function setCursor(secondsAgo) {
  cursorSeconds = Math.max(-windowSeconds, Math.min(0, secondsAgo));
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

element("place").textContent = location.host;
element("cursor-time").addEventListener("input", (event) => setCursor(Number(event.target.value)));
for (const choice of document.querySelectorAll("[name=window]")) {
  choice.addEventListener("change", () => {
    // The choice survives a reload of the page.
    history.replaceState(null, "", `#${choice.value / 60}min`);
    setWindow(Number(choice.value));
  });
}
if (windowSeconds !== null) setWindow(windowSeconds);
setInterval(showLink, 1000);
connect();
followOthers();

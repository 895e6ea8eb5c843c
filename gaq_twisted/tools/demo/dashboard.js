"use strict";
// The dashboard, its faults and the outcome: the same for both protocols.
const PROTOCOL = document.body.dataset.protocol;
const PATH = PROTOCOL === "streams" ? "/demo" : "/demo/7";
const POLL_MS = 250;
const GIVE_UP_MS = 60000;
const MOST_ROWS = 200;
const CHARTS = [
  ["Revenue", "area"], ["Orders", "bars"], ["Visitors", "line"], ["Margin", "ring"],
  ["Products", "rows"], ["Churn", "line"], ["Returns", "bars"], ["Sign-ups", "number"],
  ["Latency", "dots"], ["Stock", "rows"], ["Sessions", "area"], ["Tickets", "ring"],
];
// Queries end in this order, so that the dashboard does not fill row by row.
const ORDER = [5, 0, 9, 2, 7, 10, 4, 1, 11, 6, 3, 8];
const element = (id) => document.getElementById(id);
const plural = (count, noun) => count + " " + noun + (count === 1 ? "" : "s");

const arrived = new Set(); // Jobs; each ends once.
const counts = {events: 0, replayed: 0, repeated: 0};
let load = null; // The dashboard that is shown.
let socket = null;

// The connection

function isOpen() {
  return socket?.readyState === WebSocket.OPEN;
}

function show(state, progress) {
  const label = {connecting: "connecting", open: "connected", waiting: "not connected", gone: GONE};
  element("state").textContent = label[state];
  element("state").className = "state " + state;
  element("progress").textContent = progress;
}

function explain(reason, remedy) {
  element("reason").textContent = reason;
  element("again").textContent = remedy;
  element("again").hidden = !remedy;
  element("trouble").hidden = !reason;
}

function socketUrl(parameters) {
  // The server accepts WebSockets on any path; this one has the page's cookie.
  const url = new URL("/demo", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url;
}

function closeReason({code, reason}, hadOpened) {
  if (!hadOpened) return "The connection could not be made.";
  return code === 1006 ? "The connection was lost." : "Closed with " + code + (reason && " (" + reason + ")") + ".";
}

// A WebSocket does not show whether it was rejected or there is no server.
async function explainRefusal(refused, remedy, button) {
  const answer = await fetch(PATH + "/cookie").then((found) => found.json()).catch(() => null);
  if (answer && answer.refusal && socket === refused) {
    explain("The server rejects this page’s cookie (" + answer.refusal + ")" + remedy, button);
  }
}

// Charts, drawn from numbers that only look like data

function numbers(seed, count) {
  let state = (seed + 1) * 2654435761 % 4294967296;
  return Array.from({length: count}, () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return 0.2 + 0.75 * state / 4294967296;
  });
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const DRAW = {
  bars: (seed) => numbers(seed, 7).map((y, x) =>
    svg("rect", {class: "solid", x: 2 + x * 14, y: 50 - 46 * y, width: 10, height: 46 * y, rx: 1})),
  rows: (seed) => numbers(seed, 4).sort((a, b) => b - a).map((x, y) =>
    svg("rect", {class: "solid", x: 2, y: 4 + y * 12, width: 94 * x, height: 8, rx: 1})),
  line: (seed) => [svg("path", {class: "line", d: path(numbers(seed, 9))})],
  area: (seed) => {
    const d = path(numbers(seed, 9));
    return [svg("path", {class: "fill", d: d + "L98 50L2 50Z"}), svg("path", {class: "line", d})];
  },
  dots: (seed) => numbers(seed, 14).map((y, x) =>
    svg("circle", {class: "solid", cx: 5 + x * 7, cy: 52 - 48 * y * (0.4 + x / 22), r: 2.6})),
  ring: (seed) => {
    const share = 88 * numbers(seed, 1)[0];
    const circle = (kind, dashes) => svg("circle", {class: kind, cx: 50, cy: 27, r: 14, "stroke-dasharray": dashes});
    return [circle("track", "88 0"), circle("arc", share + " 88")];
  },
  number: (seed) => [
    svg("text", {class: "figure", x: 50, y: 30, "text-anchor": "middle"}, Math.round(900 + 8000 * numbers(seed, 1)[0]).toLocaleString("en")),
    svg("path", {class: "line", d: path(numbers(seed, 9).map((y) => y / 4))}),
  ],
};

function path(values) {
  const step = 96 / (values.length - 1);
  return values.map((y, x) => (x ? "L" : "M") + (2 + x * step).toFixed(1) + " " + (50 - 46 * y).toFixed(1)).join("");
}

function makeTiles(box) {
  return CHARTS.map(([title, kind], index) => {
    const tile = Object.assign(document.createElement("div"), {className: "tile idle"});
    const drawing = svg("svg", {viewBox: "0 0 100 54", "aria-hidden": "true"}, ...DRAW[kind](index));
    const name = Object.assign(document.createElement("p"), {textContent: title});
    tile.append(name, drawing);
    element(box).append(tile);
    return tile;
  });
}

const ours = makeTiles("our-tiles");
const theirs = makeTiles("node-tiles");

function setTile(tile, state) {
  if (tile.className !== "tile " + state) tile.className = "tile " + state;
}

// The load of a dashboard

async function begin(fault) {
  if (load?.isActive) return;
  const query = new URLSearchParams({fault, ...loadParameters()});
  load = {isActive: true, at: performance.now(), jobs: new Map(), shown: 0, replayed: 0, story: new Map(), node: {shown: [], lost: []}, reason: lossReason(), id: ""};
  setButtons();
  for (const tile of [...ours, ...theirs]) setTile(tile, "loading");
  note("load", 0, "The dashboard started loading: " + plural(CHARTS.length, "chart") + ".");
  showLoad();
  try {
    const answer = await fetch(PATH + "/dashboard?" + query, {method: "POST"}).catch(() => null);
    if (!answer) throw new Error("The dashboard cannot load: the server cannot be reached.");
    if (!answer.ok) throw new Error("The dashboard cannot load: " + (await answer.text()).trim() + ".");
    const {id, charts} = await answer.json();
    load.id = id;
    charts.forEach((job, index) => load.jobs.set(job, ORDER[index]));
    for (const job of charts) if (arrived.has(job)) shownHere(job, false);
    poll(load);
  } catch (error) {
    for (const tile of [...ours, ...theirs]) setTile(tile, "idle");
    load = null;
    setButtons();
    element("our-score").textContent = "ready";
    element("our-verdict").textContent = error.message;
  }
}

function setButtons() {
  for (const button of document.querySelectorAll("[data-fault]")) {
    // Unlike `disabled`, this keeps the keyboard where it is.
    button.setAttribute("aria-disabled", Boolean(load?.isActive));
  }
}

function shownHere(job, isReplayed) {
  const index = load?.jobs.get(job);
  if (index === undefined) return false;
  load.jobs.delete(job);
  load.shown += 1;
  load.replayed += isReplayed;
  setTile(ours[index], isReplayed ? "shown replayed" : "shown");
  showLoad();
  return true;
}

async function poll(polled) {
  const indexes = new Map(polled.jobs);
  while (performance.now() - polled.at < GIVE_UP_MS) {
    const answer = await fetch(PATH + "/dashboard?id=" + polled.id).then((found) => found.json()).catch(() => null);
    if (answer) {
      noteFaults(answer);
      polled.node = answer.node;
      for (const job of answer.node.shown) setTile(theirs[indexes.get(job)], "shown");
      for (const job of answer.node.lost) setTile(theirs[indexes.get(job)], "lost");
      showLoad();
      if (polled.node.shown.length + polled.node.lost.length === CHARTS.length && !polled.jobs.size) break;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  polled.isActive = false;
  setButtons();
  showLoad();
}

function showLoad() {
  const total = CHARTS.length;
  const lost = load.node.lost.length;
  element("our-score").textContent = load.shown + " of " + total;
  element("node-score").textContent = load.node.shown.length + " of " + total;
  element("node-score").className = lost ? "score bad" : "score";
  element("our-score").className = load.shown === total ? "score good" : "score";
  let verdict = "";
  if (load.shown === total) {
    const many = load.replayed === total ? "all" : load.replayed;
    verdict = "Every chart arrived" + (load.replayed ? ", " + many + " of them " + REPLAYED : "") + ".";
  }
  element("our-verdict").textContent = verdict;
  element("node-verdict").textContent = lost ? plural(lost, "chart") + " " + LOST
    : load.node.shown.length === total ? "Every chart would have arrived." : "";
  if (lost) element("node-verdict").append(Object.assign(document.createElement("span"), {textContent: load.reason}));
  showCounts();
}

// What happened, by second

function note(key, seconds, text) {
  if (!load) return;
  load.story.set(key, {seconds, text});
  const lines = [...load.story.values()].sort((a, b) => a.seconds - b.seconds).map((one) => {
    const line = document.createElement("li");
    line.append(Object.assign(document.createElement("time"), {textContent: one.seconds.toFixed(1) + " s"}), one.text);
    return line;
  });
  element("story").replaceChildren(...lines);
}

function noteNow(key, text) {
  if (load?.isActive) note(key, (performance.now() - load.at) / 1000, text);
}

function noteFaults({cut, redis, server}) {
  if (cut !== null) note("cut", cut, "The connection was cut, without a close frame.");
  noteSpan("redis", redis, "Redis was stopped.", "Redis was started again.");
  noteSpan("server", server, "The server stopped and closed its WebSockets.", "A new server started, with an empty memory.");
}

function noteSpan(key, span, stopped, started) {
  if (span === null) return;
  note(key + " stopped", span[0], stopped);
  if (performance.now() - load.at > 1000 * span[1]) note(key + " started", span[1], started);
}

// Every event

function count(name) {
  counts[name] += 1;
}

function addRow(status, how, isLate, chart, result) {
  const row = element("rows").insertRow(0);
  const cell = (text, className = "") => Object.assign(row.insertCell(), {textContent: text, className});
  cell(new Date().toLocaleTimeString());
  cell(status, status === "error" ? "bad" : "good");
  cell(how, isLate ? "late" : "");
  cell(chart, "job");
  cell(result, "result");
  while (element("rows").rows.length > MOST_ROWS) element("rows").deleteRow(-1);
}

function titleOf(job) {
  const index = load?.jobs.get(job);
  return index === undefined ? job.slice(0, 8) : CHARTS[index][0];
}

function showCounts() {
  for (const [name, number] of Object.entries(counts)) element(name).textContent = number;
  element("missing").textContent = load ? load.jobs.size : 0;
}

for (const button of document.querySelectorAll("[data-fault]")) {
  button.onclick = () => begin(button.dataset.fault);
}

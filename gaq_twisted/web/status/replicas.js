// Several servers in one table: this one, and those of `?with=host:port,host:port`.
const others = (new URLSearchParams(location.search).get("with") || "").split(",").filter((address) => address && address !== location.host);
// Events are read from Redis, and messages received from it; a server may have either or both.
const SUMMED = ["eventsReadPerSecond", "messagesReceivedPerSecond"];

/** Follow a server's events; `on` has a function for each kind, and `link` for the connection. */
function follow(url, on) {
  const source = new EventSource(url);
  for (const kind of ["hello", "samples", "lists", "server"]) {
    if (on[kind]) source.addEventListener(kind, (event) => on[kind](JSON.parse(event.data)));
  }
  source.onerror = () => {
    const isRefused = source.readyState === EventSource.CLOSED;
    on.link(isRefused ? "refused" : "lost");
    // After an answer that is not a stream, the browser itself does not retry.
    if (isRefused) setTimeout(() => on.open(follow(url, on)), RETRY_MS);
  };
  return source;
}

function followOthers() {
  if (!others.length) return;
  element("servers").hidden = false;
  const here = makeReplica(location.host);
  replicas.push({...here, read: () => ({facts, state, tiles: page.tiles, last: samples.at(-1), link, heardAt})});
  for (const address of others) {
    const known = {facts: {}, state: {reasons: []}, tiles: [], last: undefined, link: "connecting", heardAt: -Infinity};
    follow(`//${address}/status/events`, {
      open: () => {},
      link: (now) => { known.link = now; },
      hello: (data) => Object.assign(known, {facts: data, tiles: data.tiles}),
      samples: (data) => Object.assign(known, {state: data.state, last: named(known.facts.fields, data.samples.at(-1)), link: "live", heardAt: performance.now()}),
    });
    replicas.push({...makeReplica(address), read: () => known});
  }
  setInterval(showReplicas, 1000);
}

const replicas = [];

function makeReplica(address) {
  const row = make("tr", element("replicas"));
  const name = make("td", row);
  if (address === location.host) make("strong", name, {textContent: address});
  else make("a", name, {textContent: address, href: `//${address}/status?with=${[location.host, ...others.filter((other) => other !== address)].join(",")}`});
  const readiness = make("span", make("td", row), {className: "state"});
  const [sockets, events] = [0, 1].map(() => make("td", row, {className: "number"}));
  return {readiness, sockets, events, tiles: make("td", row), uptime: make("td", row), version: make("td", row)};
}

function showReplicas() {
  const totals = {sockets: 0, events: 0};
  for (const replica of replicas) {
    const {facts, state, tiles, last, link, heardAt} = replica.read();
    const isLive = link === "live" && performance.now() - heardAt < STALE_MS;
    if (!last || !isLive) {
      setState(replica.readiness, "bad", link === "refused" ? "no connection, or rejected" : "no data");
      continue;
    }
    const events = SUMMED.reduce((sum, name) => sum + (last[name] || 0), 0);
    totals.sockets += last.sockets;
    totals.events += events;
    setState(replica.readiness, ...readinessOf(last, state));
    write(replica.sockets, count(last.sockets));
    write(replica.events, rate(events));
    write(replica.uptime, span(last.at - facts.startedAt));
    write(replica.version, facts.version);
    replica.tiles.replaceChildren(...tiles.map((tile) => {
      const {level, word} = stateOf(tile.states, last);
      const made = document.createElement("span");
      made.className = "state";
      setState(made, level, `${tile.title === "Since the start" ? "" : tile.title + " "}${word}`);
      return made;
    }));
  }
  write(element("all-sockets"), count(totals.sockets));
  write(element("all-events"), rate(totals.events));
}

// Connects as the page of Superset 1.2 to 6.1 does: 2.5 s after a connection was lost or could
// not be made, six times in a row at most; a connection that opens resets the count. The id of
// the last event is the page's own: local storage only hands it to the next page.
const RETRY_MS = 2500;
const MOST_RETRIES = 6;
const LAST_ID = "last_async_event_id";
const GAVE_UP = MOST_RETRIES + " tries failed. The page stops here, as Superset’s does until it is"
  + " reloaded. Check that the server runs, then try again.";
const REMEDY = ". With a new one, the page continues where it was.";
const GONE = "gave up";
const REPLAYED = "as a replay";
const LOST = "would spin until the page is reloaded.";

let retryTimer = null;
let retries = 0;
let lastId = storedId();
let openedAt = 0;

function storedId() {
  try { return localStorage.getItem(LAST_ID); } catch { return null; } // Blocked by the browser.
}

function storeId() {
  try { localStorage.setItem(LAST_ID, lastId); } catch { /* The next page starts without. */ }
}

function loadParameters() {
  if (element("first-visit").checked) lastId = null;
  return lastId ? {last_id: lastId} : {};
}

// Why the Node.js server loses charts, if it does.
function lossReason() {
  return lastId ? "It looks for missed events by ids of another stream."
    : "It replays nothing to a browser that has not received an event yet.";
}

function connect() {
  clearTimeout(retryTimer);
  show("connecting", retries ? "Try " + retries + " of " + MOST_RETRIES + "." : "");
  const asked = lastId ? "Asked for the events after the last one." : "First visit: there is no last event.";
  let hadOpened = false;
  socket = new WebSocket(socketUrl(lastId ? {last_id: lastId} : {}));
  socket.onopen = () => {
    hadOpened = true;
    if (load) noteNow("open " + openedAt, "The page is connected again. " + asked);
    retries = 0;
    openedAt = Date.now();
    explain("", "");
    show("open", asked);
  };
  socket.onmessage = (message) => add(JSON.parse(message.data));
  socket.onclose = (close) => closed(close, hadOpened);
}

function closed(close, hadOpened) {
  const what = closeReason(close, hadOpened);
  if (retries < MOST_RETRIES) {
    retries += 1;
    show("waiting", what + " Try " + retries + " of " + MOST_RETRIES + " in 2.5 s.");
    retryTimer = setTimeout(connect, RETRY_MS);
  } else {
    show("gone", "");
    explain(GAVE_UP, "Try again");
  }
  if (!hadOpened) explainRefusal(close.target, REMEDY, "Get a new cookie and continue");
}

element("again").onclick = async () => {
  clearTimeout(retryTimer);
  await fetch("/demo/cookie", {method: "POST"}).catch(() => null); // Then connecting fails, too.
  if (socket.readyState !== WebSocket.CLOSED) return;
  retries = 0;
  connect();
};

function add(event) {
  const isRepeated = arrived.has(event.job_id);
  // Both clocks are this computer's.
  const ms = Number(event.id.split("-")[0]);
  const isReplayed = ms < openedAt;
  lastId = event.id;
  storeId();
  count("events");
  if (isReplayed) count("replayed");
  if (isRepeated) count("repeated");
  const lateMs = Math.max(0, Date.now() - ms);
  const late = lateMs < 1000 ? lateMs + " ms" : (lateMs / 1000).toFixed(1) + " s";
  const how = (isRepeated ? "repeated" : isReplayed ? "replayed" : "live") + " after " + late;
  const result = event.result_url ? "ready" : event.errors.map((error) => error.message).join("; ");
  addRow(event.status, how, isReplayed || isRepeated, titleOf(event.job_id), result);
  arrived.add(event.job_id);
  if (shownHere(event.job_id, isReplayed) && isReplayed) {
    noteNow("replay " + openedAt, plural(load.replayed, "chart") + " that ended in the meantime arrived as a replay.");
  }
  showCounts();
}

element("first-visit").checked = !lastId;
connect();

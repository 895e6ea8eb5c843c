// Connects as Superset 7's page does: after each end it waits 1, 2, 4 ... 30 s and up to a second
// more, for ever; a connection that opens resets the count. At the third end in a row
// Superset fails the charts that wait.
const FIRST_RETRY_MS = 1000;
const MOST_RETRY_MS = 30000;
const JITTER_MS = 1000;
const UNHEALTHY_ENDS = 3;
const GONE = "unhealthy";
const REPLAYED = "because the page asked Superset after reconnecting";
const LOST = "would show “Realtime connection unavailable”.";

const tabId = ownTabId();
let ends = 0; // In a row.
let opened = 0;

// Superset numbers the tabs of a browser; a tab keeps its number when it is reloaded.
function ownTabId() {
  try {
    sessionStorage.demoTab ??= localStorage.demoTabs = Number(localStorage.demoTabs ?? 0) + 1;
    return sessionStorage.demoTab;
  } catch { // Blocked by the browser.
    return Math.random().toString(36).slice(2);
  }
}

function loadParameters() {
  return {tab_id: tabId};
}

// Why charts fail with the Node.js server, if they do.
function lossReason() {
  return "It rejects connections while Redis is down, and the third rejection fails the charts.";
}

async function connect() {
  show("connecting", ends ? "Try " + ends + "." : "");
  // Superset renews the cookie with any answer; it lasts a quarter of an hour.
  await fetch("/demo/7/cookie", {method: "POST"}).catch(() => null); // Then connecting fails, too.
  let hadOpened = false;
  socket = new WebSocket(socketUrl({tab_id: tabId}));
  socket.onopen = () => {
    hadOpened = true;
    opened += 1;
    ends = 0;
    explain("", "");
    show("open", "Asked Superset which queries have ended; messages come from now on.");
    if (load) {
      noteNow("open " + opened, "The page is connected again, and asked which queries have ended.");
      askForEnded();
    }
  };
  socket.onmessage = (message) => add(JSON.parse(message.data));
  socket.onclose = (close) => closed(close, hadOpened);
}

function closed(close, hadOpened) {
  ends += 1;
  const delayMs = Math.min(FIRST_RETRY_MS * 2 ** (ends - 1), MOST_RETRY_MS) + Math.random() * JITTER_MS;
  const isUnhealthy = ends >= UNHEALTHY_ENDS;
  const what = closeReason(close, hadOpened);
  show(isUnhealthy ? "gone" : "waiting", what + " Try " + ends + " in " + (delayMs / 1000).toFixed(1) + " s."
    + (isUnhealthy ? " Superset’s charts that wait have failed by now." : ""));
  if (hadOpened && close.code !== 1006) noteNow("close " + opened, what);
  setTimeout(connect, delayMs);
  if (!hadOpened) explainRefusal(close.target, ", and the browser keeps no new one.", "");
}

// As Superset's page does each time its socket opens.
async function askForEnded() {
  const asked = load;
  const answer = await fetch("/demo/7/dashboard?id=" + asked.id).then((found) => found.json()).catch(() => null);
  if (!answer || load !== asked) return;
  for (const job of answer.ended) {
    if (arrived.has(job)) continue;
    count("replayed");
    addRow("success", "asked for", true, titleOf(job), "ready");
    arrived.add(job);
    shownHere(job, true);
  }
  showCounts();
}

function add({topic, payload}) {
  const job = payload?.task_id;
  const isRepeated = arrived.has(job);
  count("events");
  if (isRepeated) count("repeated");
  addRow(payload.status, isRepeated ? "repeated" : "live", isRepeated, titleOf(job), topic);
  arrived.add(job);
  shownHere(job, false);
  showCounts();
}

connect();

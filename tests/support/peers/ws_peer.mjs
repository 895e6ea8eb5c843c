// The peer that is made of the npm package ws, of which Superset's own server is made too.
import readline from "node:readline";
import WebSocket from "ws";

const [url, cookie] = process.argv.slice(2);
const report = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const socket = new WebSocket(url, { headers: { Cookie: cookie } });
const lines = readline.createInterface({ input: process.stdin });

const commands = {
  ping: (payload) => socket.ping(payload),
  fragments: (texts) =>
    texts.forEach((text, index) => socket.send(text, { fin: index === texts.length - 1 })),
  close: ([code, reason]) => socket.close(code, reason),
};

socket.on("open", () => {
  report({ open: true });
  lines.on("line", (line) => {
    for (const [word, what] of Object.entries(JSON.parse(line))) commands[word](what);
  });
});
socket.on("unexpected-response", (request, response) => {
  report({ refused: response.statusCode });
  request.destroy();
  lines.close();
});
socket.on("message", (data) => report({ text: data.toString() }));
socket.on("pong", (payload) => report({ pong: payload.toString() }));
socket.on("close", (code, reason) => {
  report({ closed: [code, reason.toString()] });
  lines.close();
});

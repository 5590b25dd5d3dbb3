// A ball on a field of 7 by 7 points, and a goal some steps from the centre. Options in the address of the page:
//
//   url       of the websocket, ws://127.0.0.1:8000/ws if left out; the arrow keys steer too, with and without a service
//   token     of the service; with markers the one that controls
//   steer     decisions: a step each (left_hand, right_hand, tongue upwards, feet downwards); axes: x and y are the speed
//   distance  steps from the centre to a goal, 1 to 6; 3 if left out
//   limit     seconds for a goal, 60 if left out
//   markers   1: the stream gets the markers "target X Y", "reached" and "missed", for a recording, or for a simulated person who
//             plays by them: mindwire simulate --follow STREAM
//
// Decisions and axes count only while they are fresh, and a decision only while there is a goal. The client comes from the service itself:
// it connects again by itself, and knows the age of each message.

const BORDER = 3;
/** @type {Record<string, [number, number]>} */
const STEPS = { left_hand: [-1, 0], right_hand: [1, 0], tongue: [0, 1], feet: [0, -1] };
/** @type {Record<string, string>} */
const KEYS = { ArrowLeft: "left_hand", ArrowRight: "right_hand", ArrowUp: "tongue", ArrowDown: "feet" };
const FRESH_MS = 1000;
const AXES_FRESH_MS = 300;
const RETRY_MS = 1000;
const SPEED = 1.5; // steps a second at full deflection
const NEAR = 0.4; // of a goal, in steps: it is reached
const BREAK_MS = 2000; // between two goals

const options = new URLSearchParams(location.search);
const url = options.get("url") ?? "ws://127.0.0.1:8000/ws";
const token = options.get("token") ?? undefined;
const byAxes = options.get("steer") === "axes";
const distance = Math.min(Math.max(Number(options.get("distance") ?? 3), 1), 2 * BORDER);
const limit_ms = 1000 * Number(options.get("limit") ?? 60);

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {number} value */
const within = (value) => Math.min(Math.max(value, -BORDER), BORDER);

const ball = { x: 0, y: 0 };
/** @type {{x: number, y: number, until: number} | null} */
let goal = null;
let goals = 0;
let missed = 0;
let begin_at = 0; // time of the next goal, performance.now(); Infinity while the markers are not ready
let axes = { x: 0, y: 0, until: 0 };
/** @type {(label: string) => void} */
let mark = () => {};

// ── what is seen ────────────────────────────────────────────────────────────────────────────────────

/** @param {string} id @param {string} text */
function say(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

/** @param {string} id @param {{x: number, y: number}} place */
function put(id, { x, y }) {
  const shape = byId(id);
  shape.style.transform = `translate(${x}px, ${-y}px)`;
  Object.assign(shape.dataset, { x: String(x), y: String(y) });
}

/** @param {number} n @param {string} positive @param {string} negative */
const inWords = (n, positive, negative) => (n === 0 ? "" : `${Math.abs(n)} ${n > 0 ? positive : negative}`);

function draw() {
  put("ball", ball);
  byId("goal").toggleAttribute("hidden", goal === null);
  if (!goal) return;
  put("goal", goal);
  const way = [inWords(Math.round(goal.x - ball.x), "right", "left"), inWords(Math.round(goal.y - ball.y), "up", "down")];
  say("place", `From the ball to the goal: ${way.filter(Boolean).join(", ")}`);
}

function drawPoints() {
  for (let x = -BORDER; x <= BORDER; x += 1)
    for (let y = -BORDER; y <= BORDER; y += 1) {
      const point = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      for (const [name, value] of Object.entries({ cx: x, cy: y, r: 0.05 })) point.setAttribute(name, String(value));
      byId("points").append(point);
    }
}

// ── the rules ───────────────────────────────────────────────────────────────────────────────────────

/** Show a goal, and the ball in the centre again. @param {number} now */
function begin(now) {
  const places = [];
  for (let x = -BORDER; x <= BORDER; x += 1) for (let y = -BORDER; y <= BORDER; y += 1) if (Math.abs(x) + Math.abs(y) === distance) places.push({ x, y });
  goal = { ...places[Math.floor(Math.random() * places.length)], until: now + limit_ms };
  ball.x = ball.y = 0;
  say("said", "");
  mark(`target ${goal.x} ${goal.y}`);
}

/** @param {number} now @param {boolean} reached */
function end(now, reached) {
  goal = null;
  begin_at = now + BREAK_MS;
  if (reached) goals += 1;
  else missed += 1;
  say("score", `Goals ${goals}${missed ? `, missed ${missed}` : ""}`);
  say("said", reached ? "Goal!" : "Not in time. The next one comes.");
  mark(reached ? "reached" : "missed");
}

/** Move the ball by one step. @param {string} label */
function step(label) {
  if (!goal || !(label in STEPS)) return;
  const [dx, dy] = STEPS[label];
  ball.x = within(ball.x + dx);
  ball.y = within(ball.y + dy);
}

let last = performance.now();
/** One frame: the ball rolls, goals come and go. @param {number} now */
function frame(now) {
  const seconds = Math.min(now - last, 100) / 1000;
  last = now;
  if (goal && now < axes.until) {
    ball.x = within(ball.x + SPEED * seconds * axes.x);
    ball.y = within(ball.y + SPEED * seconds * axes.y);
  }
  if (!goal && now >= begin_at) begin(now);
  else if (goal && Math.hypot(goal.x - ball.x, goal.y - ball.y) < NEAR) end(now, true);
  else if (goal && now > goal.until) end(now, false);
  draw();
  requestAnimationFrame(frame);
}

// ── what steers ─────────────────────────────────────────────────────────────────────────────────────

addEventListener("keydown", (event) => {
  if (!(event.key in KEYS)) return;
  event.preventDefault();
  step(KEYS[event.key]);
});

/** @param {string} reason */
const sayLost = (reason) => say("connection", `Not connected${reason ? ` (${reason})` : ""}: the arrow keys steer.`);

/** @param {any} hello description of the stream */
function greet({ stream, model }) {
  say("connection", `Connected to ${stream}: ${byAxes ? "its axes" : "its decisions"} and the arrow keys steer.`);
  say("notice", model.notice);
}

/** @param {any} message of the client */
function take(message) {
  if (message.type === "hello") greet(message);
  else if (message.type === "connection" && !message.connected) sayLost(message.reason);
  else if (message.type === "event" && message.kind === "state") {
    if (message.data.state !== "live") say("said", message.message);
    else if (!goal) say("said", "");
  } else if (message.type === "decision" && !byAxes) {
    if (message.isFresh(FRESH_MS)) step(message.class);
    else say("said", "A decision came too late, and counts for nothing.");
  } else if (message.type === "axes" && byAxes) {
    const { x = 0, y = 0 } = message.values;
    axes = { x, y, until: message.isFresh(FRESH_MS) ? performance.now() + AXES_FRESH_MS : 0 };
  }
}

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Load the client from the service, as soon as there is one. */
async function loadClient() {
  const address = new URL(url);
  const path = address.pathname.replace(/(\/ws|\/v1\/streams\/.*)$/, "/client.js");
  const service = `${address.protocol === "wss:" ? "https:" : "http:"}//${address.host}${path}`;
  for (let attempt = 0; ; attempt += 1) {
    // a browser may remember that an address could not be loaded
    const client = await import(`${service}?attempt=${attempt}`).catch(() => null);
    if (client) return client;
    await pause(RETRY_MS);
  }
}

/** Let a stream steer for good. */
async function follow() {
  const { connect } = await loadClient();
  const stream = await connect(url, { token, timeout_ms: Infinity });
  greet(stream.hello);
  if (options.get("markers") === "1") prepareMarkers(stream);
  for await (const message of stream.messages()) take(message);
}

/** Have markers sent from now on, and begin when there are predictions and the clock is known. @param {any} stream */
async function prepareMarkers(stream) {
  stream.markers.onrefused = (/** @type {string} */ problem) => say("said", problem);
  while (stream.state !== "live" || !stream.clock.state.synchronised) await pause(50);
  mark = (label) => stream.markers.atPaint(label); // called in a frame, before it is drawn
  begin_at = performance.now() + BREAK_MS;
}

if (options.get("markers") === "1") begin_at = Infinity;
document.body.classList.toggle("smooth", byAxes);
drawPoints();
follow().catch(({ message }) => sayLost(message)); // a wrong token, no such stream
requestAnimationFrame(frame);

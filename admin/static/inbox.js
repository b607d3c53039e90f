// The consultants' inbox: lists and conversations through the REST API, kept live by /ws/consultants.
import * as channels from "./inbox-channels.js";

const $ = (id) => document.getElementById(id);
const box = $("inbox"), words = box.dataset;
const API = "/api/v1", LONGEST = 30000;
// How many receipts are said again after the connection was lost: the last ones may have gone with it.
const AGAIN = 50;
// The session lives on by what a person does here, said at most this often: an inbox left open asks for tokens by itself.
const ACTED_MS = 60000;
let token = "", me = "", last = "", open = null, wait = 500, acted = 0, refreshing = 0, told = [];

const say = (text, values = {}) => text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

function complain(reason) {
  $("problem").textContent = reason ? say(words.failed, { reason }) : "";
  $("problem").hidden = !reason;
}

async function signIn(query = "") {
  const answer = await fetch(`/inbox/token${query}`, { cache: "no-store" });
  if (answer.redirected || answer.status === 401) return location.reload();
  if (!answer.ok) throw new Error(answer.status);
  ({ access_token: token, consultant_id: me } = await answer.json());
}

function personActed() {
  if (Date.now() - acted < ACTED_MS) return;
  acted = Date.now();
  signIn("?acted").catch(() => { acted = 0; });
}

async function call(method, path, body, again = true) {
  const headers = { Authorization: `Bearer ${token}` };
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(API + path, { method, headers, body: body && JSON.stringify(body) });
  if (answer.status === 401 && again) {
    await signIn();
    return call(method, path, body, false);
  }
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.detail), { holder: said.holder, code: said.code });
  return said.data;
}

function element(kind, text, className) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function row(one) {
  const item = document.createElement("li"), button = element("button", one.customer_name);
  const minutes = Math.max(0, Math.floor((Date.now() - Date.parse(one.created_at)) / 60000));
  button.type = "button";
  button.append(element("small", [say(words.since, { minutes }), ...one.customer_interests].join(" · ")));
  if (open && open.id === one.id) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => show(one.id));
  item.dataset.id = one.id;
  item.append(button);
  return item;
}

async function list(view) {
  const { items } = await call("GET", `/conversations?view=${view}&limit=100`);
  $(view).replaceChildren(...items.map(row));
  $(`count-${view}`).textContent = items.length;
  box.querySelector(`[data-empty="${view}"]`).hidden = items.length > 0;
}

// Frames that come together lead to one look at the lists.
function refresh() {
  clearTimeout(refreshing);
  refreshing = setTimeout(async () => {
    try {
      await Promise.all([list("waiting"), list("mine")]);
      if (open) head(await call("GET", `/conversations/${open.id}`));
    } catch (error) { complain(error.message); }
  }, 150);
}

function head(one) {
  open = one;
  const mine = one.claimed_by_id === me;
  $("who").textContent = one.customer_name;
  $("holder").textContent = mine ? words.yours : one.claimed_by ? say(words.takenBy, { name: one.claimed_by }) : "";
  $("holder").hidden = !one.claimed_by_id;
  $("claim").hidden = Boolean(one.claimed_by_id);
  $("release").hidden = !mine;
  $("reply").hidden = !mine;
  const facts = [[words.interests, one.customer_interests.join(", ")], [words.source, one.customer_source], ["", one.customer_locale]];
  $("basics").textContent = facts.filter(([, value]) => value).map(([name, value]) => (name ? `${name}: ${value}` : value)).join(" · ");
}

function clock(at) {
  return new Date(at).toLocaleTimeString(document.documentElement.lang, { timeZone: channels.ZONE, timeStyle: "short" });
}

function bubble(message) {
  if ($("messages").querySelector(`[data-id="${message.id}"]`)) return;
  const mine = message.sender_type === "consultant";
  const item = element("li", message.content.text ?? "", mine ? "is-mine" : "");
  const name = message.sender_name ?? (mine ? "" : message.sender_type === "ai" ? words.ai : words.customer);
  item.prepend(element("small", [name, clock(message.created_at)].filter(Boolean).join(" · ")));
  item.dataset.id = message.id;
  $("messages").append(item);
  item.scrollIntoView({ block: "nearest" });
}

async function show(id) {
  personActed();
  try {
    const [one, page] = await Promise.all([
      call("GET", `/conversations/${id}`), call("GET", `/conversations/${id}/messages?order=newest&limit=100`)]);
    head(one);
    $("messages").replaceChildren();
    page.items.reverse().forEach(bubble);
    $("none").hidden = true;
    $("open").hidden = false;
    box.classList.add("reading");
    history.replaceState(null, "", `/inbox/conversations/${id}`);
    complain("");
    await call("POST", `/conversations/${id}/read`);
    refresh();
  } catch (error) { complain(error.message); }
}

async function act(method, path, body) {
  personActed();
  try {
    const done = await call(method, path, body);
    complain("");
    return done;
  } catch (error) {
    complain(error.holder ? say(words.takenBy, { name: error.holder }) : error.message);
  } finally { refresh(); }
}

$("claim").addEventListener("click", () => act("POST", `/conversations/${open.id}/claim`));
$("release").addEventListener("click", () => act("POST", `/conversations/${open.id}/release`));
$("presence").addEventListener("change", (event) => act("PUT", "/consultants/me/presence", { status: event.target.value }));
$("back").addEventListener("click", (event) => {
  event.preventDefault();
  open = null;
  box.classList.remove("reading");
  $("open").hidden = true;
  $("none").hidden = false;
  history.replaceState(null, "", "/inbox");
});
$("reply").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("words").value.trim();
  if (!text) return;
  const said = await act("POST", `/conversations/${open.id}/messages`, { text });
  if (said) { $("words").value = ""; bubble(said); }
});

// Browsers let a page sound and notify only after somebody asked for it.
let audio = null;
$("sound").addEventListener("change", async (event) => {
  if (!event.target.checked) { audio = null; return; }
  audio = new AudioContext();
  if ("Notification" in window && Notification.permission === "default") await Notification.requestPermission();
});

function ring(title, body, conversation) {
  if (!audio) return;
  const tone = audio.createOscillator(), volume = audio.createGain();
  volume.gain.value = 0.1;
  tone.connect(volume).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + 0.25);
  if (document.hidden) channels.notify(title, body, conversation);
}

// A receipt is no promise until it arrived, and is said again when the socket is.
function confirm(socket, id) {
  told = [...told, { id, seen: !document.hidden }].slice(-AGAIN);
  receipts(socket, told.slice(-1));
}

function receipts(socket, some) {
  for (const type of ["received", "seen"]) {
    const ids = some.filter(({ seen }) => seen === (type === "seen")).map(({ id }) => id);
    if (ids.length) socket.send(JSON.stringify({ type, data: { ids } }));
  }
}

function hear(socket, frame) {
  if (frame.id) last = frame.id;
  const data = frame.data;
  switch (frame.type) {
    case "new_customer":
      confirm(socket, frame.id);
      ring(data.title ?? words.newCustomer, data.username ?? "", data.conversation_id);
      return refresh();
    case "escalation":
      ring(data.title ?? words.escalation, "", data.conversation_id);
      return refresh();
    case "message":
      if (open && data.conversation_id === open.id) bubble(data);
      if (data.sender_type === "customer") ring(words.newMessage, data.content.text ?? "", data.conversation_id);
      return refresh();
    case "customer_claimed": case "customer_released": case "resync":
      return refresh();
  }
}

function state(live) {
  $("link").textContent = live ? words.connected : words.lost;
  $("link").className = live ? "badge is-online" : "badge is-away";
}

async function connect() {
  try {
    await signIn();
    const query = new URLSearchParams({ locale: document.documentElement.lang, ...(last && { last_event_id: last }) });
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws/consultants?${query}`, ["bearer", token]);
    socket.onopen = () => { wait = 500; state(true); receipts(socket, told); refresh(); };
    socket.onmessage = (event) => hear(socket, JSON.parse(event.data));
    socket.onclose = () => { state(false); setTimeout(connect, wait * (0.5 + Math.random())); wait = Math.min(wait * 2, LONGEST); };
  } catch {
    state(false);
    setTimeout(connect, wait);
    wait = Math.min(wait * 2, LONGEST);
  }
}

async function begin() {
  state(false);
  await connect();
  try {
    const own = (await call("GET", "/consultants")).find((one) => one.consultant_id === me);
    if (own) $("presence").value = own.status === "away" ? "away" : "online";
    // Pushes are in the language the inbox is read in.
    await call("PUT", "/consultants/me/locale", { locale: document.documentElement.lang });
    await channels.start({ call, words, me, say, open: show });
  } catch (error) { complain(error.message); }
  const named = location.pathname.match(/^\/inbox\/conversations\/([0-9a-f-]+)$/);
  if (named) await show(named[1]);
}
begin();

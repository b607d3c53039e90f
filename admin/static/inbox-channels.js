// The inbox's own notifications: this browser's web push, and the consultant's channels with how they fared.
const $ = (id) => document.getElementById(id);
const WORKER = "/inbox/worker.js", SCOPE = "/inbox", OWN = "/consultants/me/channels";
// Which channel is this browser's, and whose: another person may sign in here.
const KEPT = "anmei-push";
// The pages' clock: the company's (admin.i18n).
export const ZONE = "Asia/Shanghai";

let call, words, me, say, registration = null;

const kept = () => JSON.parse(localStorage.getItem(KEPT) ?? "null");
const element = (kind, text, className) => Object.assign(document.createElement(kind), { textContent: text, className: className ?? "" });
const supported = () => "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;

export function notify(title, body, conversation) {
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  // The same tag as a push of the same customer: one of them is shown.
  const options = { body, tag: conversation, data: { conversation }, icon: "/admin/static/icon.svg" };
  if (registration) registration.showNotification(title, options);
  else new Notification(title, options);
}

function explain(key, subscribed) {
  $("push-state").textContent = words[key];
  $("push-state").dataset.state = key;
  $("push-on").hidden = key !== "pushDefault" && key !== "pushOff";
  $("push-off").hidden = !subscribed;
}

async function look() {
  if (!window.isSecureContext) return explain("pushInsecure");
  if (!supported()) return explain("pushUnsupported");
  const subscription = registration && await registration.pushManager.getSubscription();
  if (Notification.permission === "denied") return explain("pushDenied");
  if (subscription) return explain("pushOn", true);
  explain(Notification.permission === "granted" ? "pushOff" : "pushDefault");
}

async function subscribe() {
  if (await Notification.requestPermission() !== "granted") return look();
  registration = await navigator.serviceWorker.register(WORKER, { scope: SCOPE });
  await navigator.serviceWorker.ready;
  const { public_key: applicationServerKey } = await call("GET", "/consultants/me/webpush-key");
  let subscription;
  try {
    subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey });
  } catch (error) {
    // The browser's maker runs the push service; where that cannot be reached there are no pushes.
    throw new Error(say(words.pushRefused, { reason: error.message }));
  }
  const { endpoint, keys } = subscription.toJSON();
  const channel = await call("POST", OWN, { kind: "webpush", name: words.thisBrowser, subscription: { endpoint, keys } });
  localStorage.setItem(KEPT, JSON.stringify({ id: channel.id, me }));
}

async function unsubscribe() {
  const subscription = registration && await registration.pushManager.getSubscription();
  if (subscription) await subscription.unsubscribe();
  const own = kept();
  localStorage.removeItem(KEPT);
  if (own && own.me === me) await call("DELETE", `${OWN}/${own.id}`).catch((error) => { if (error.code !== "CHANNEL_NOT_FOUND") throw error; });
}

function row(channel) {
  const item = document.createElement("li"), own = kept();
  item.dataset.id = channel.id;
  const kind = { webpush: words.kindWebpush, http: "HTTP", apprise: "Apprise" }[channel.kind];
  const title = channel.name && channel.name !== words.thisBrowser ? `${channel.name} · ${kind}` : kind;
  item.append(element("strong", own && own.id === channel.id ? words.thisBrowser : title), " ");
  item.append(element("span", channel.enabled ? words.channelOn : words.channelOff, channel.enabled ? "badge is-online" : "badge is-away"));
  const time = (at) => new Date(at).toLocaleString(document.documentElement.lang, { timeZone: ZONE });
  item.append(element("small", channel.last_success_at ? say(words.lastSuccess, { at: time(channel.last_success_at) }) : words.neverSent));
  if (channel.disabled_reason) item.append(element("small", say(words.channelGone, { reason: channel.disabled_reason }), "error"));
  else if (channel.last_error) item.append(element("small", say(words.lastError, { at: time(channel.last_error_at), reason: channel.last_error }), "error"));
  const buttons = element("div", "", "row");
  const button = (text, work) => {
    const made = element("button", text, "button");
    made.type = "button";
    made.addEventListener("click", () => act(made, work));
    buttons.append(made);
  };
  const path = `${OWN}/${channel.id}`;
  button(words.channelTest, async () => {
    const { sent, error, error_code: code } = await call("POST", `${path}/test`);
    return sent ? words.testSent : say(words.failed, { reason: reason({ code, message: error }) });
  });
  button(channel.enabled ? words.switchOff : words.switchOn, () => call("PATCH", path, { enabled: !channel.enabled }).then(() => ""));
  button(words.channelRemove, () => (own && own.id === channel.id ? unsubscribe() : call("DELETE", path)).then(() => ""));
  item.append(buttons);
  return item;
}

async function list() {
  const channels = await call("GET", OWN);
  $("channel-list").replaceChildren(...channels.map(row));
  $("channel-none").hidden = channels.length > 0;
}

// A refusal in the reader's language where it is a known one, else in the service's own words.
function reason({ code, message }) {
  const name = (code ?? "").toLowerCase().replace(/(?:^|_)(\w)/g, (_, letter) => letter.toUpperCase());
  return words[`error${name}`] ?? message;
}

// Does the work, says how it went, and shows what is there now.
async function act(button, work) {
  button.disabled = true;
  try {
    $("channel-said").textContent = await work() ?? "";
  } catch (error) {
    $("channel-said").textContent = say(words.failed, { reason: reason(error) });
  } finally {
    button.disabled = false;
    await Promise.all([list(), look()]).catch(() => {});
  }
}

export async function start(tools) {
  ({ call, words, me, say } = tools);
  if (supported()) {
    registration = await navigator.serviceWorker.getRegistration(SCOPE) ?? null;
    navigator.serviceWorker.addEventListener("message", ({ data }) => data.open && tools.open(data.open));
    // Somebody else signed in to this browser: the one before is not pushed to here any more.
    if (kept() && kept().me !== me) await unsubscribe();
  }
  $("push-on").addEventListener("click", (event) => act(event.target, subscribe));
  $("push-off").addEventListener("click", (event) => act(event.target, unsubscribe));
  $("channels").addEventListener("toggle", () => $("channels").open && list().catch((error) => { $("channel-said").textContent = error.message; }));
  $("channel-new").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target, { kind, url, name } = Object.fromEntries(new FormData(form));
    act(form.querySelector("button"), async () => {
      await call("POST", OWN, { kind, url, ...(name.trim() && { name: name.trim() }) });
      form.reset();
      return words.channelAdded;
    });
  });
  // Not before this: a form that nobody listens to would put what is typed into the address.
  $("channel-new").hidden = false;
  // Opened before anybody listened.
  await Promise.all([look(), $("channels").open ? list() : null]);
}

// Receives web pushes while no inbox is open: shows them, confirms them, and opens their conversation when clicked.
"use strict";
const API = "/api/v1/consultants/me/notifications";

// With the session this browser holds; where nobody is signed in any more, a push is shown and not confirmed.
async function confirmed(id, status) {
  const answer = await fetch("/inbox/token", { cache: "no-store" });
  if (answer.redirected || !answer.ok) return;
  const { access_token: token } = await answer.json();
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
  await fetch(`${API}/${id}/receipt`, { method: "POST", headers, body: JSON.stringify({ status }) });
}

async function shown(said) {
  const data = { conversation: said.conversation_id, notification: said.notification_id };
  const options = { body: said.body, data, tag: said.conversation_id, renotify: Boolean(said.conversation_id), icon: "/admin/static/icon.svg" };
  await self.registration.showNotification(said.title || "AnmeiSmart", options);
  // The receipt is a courtesy: what it says is true without it.
  if (said.notification_id) await confirmed(said.notification_id, "received").catch(() => {});
}

async function opened({ conversation, notification }) {
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const inbox = windows.find((one) => /^\/inbox(\/|$)/.test(new URL(one.url).pathname));
  if (inbox) {
    inbox.postMessage({ open: conversation });
    await inbox.focus().catch(() => {});
  } else await self.clients.openWindow(conversation ? `/inbox/conversations/${conversation}` : "/inbox");
  if (notification) await confirmed(notification, "seen").catch(() => {});
}

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(shown(event.data ? event.data.json() : {})));
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(opened(event.notification.data ?? {}));
});

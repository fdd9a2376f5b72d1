// Keeps the page itself so that it opens offline; never the data, which lies in IndexedDB with its time.
const VERSION = "77a987422a30";
const FILES = ["./", "css/app.css", "css/more.css", "js/theme.js", "js/main.js", "js/lib.js", "js/store.js", "js/connection.js", "js/kept.js", "js/sources.js", "js/header.js", "js/alerts.js", "js/now.js", "js/format.js", "js/scale.js", "js/pairing.js", "js/sealed.js", "js/sample.js", "js/usage.js", "js/sessions.js", "js/empty.js", "js/push.js", "vendor/preact.js", "js/feed.js", "js/popovers.js", "js/panel.js", "js/notes.js", "js/charts.js", "js/search.js", "js/detail.js", "js/export.js", "js/query.js", "vendor/geist-latin.woff2", "icons/icon.svg", "icons/icon-192.png", "manifest.webmanifest", "sample.json"];
const NAME = "session-relay-" + VERSION;

self.addEventListener("install", (event) => event.waitUntil((async () => {
  const cache = await caches.open(NAME);
  await cache.addAll(FILES.map((file) => new Request(file, { cache: "no-cache" })));
  await self.skipWaiting();
})()));

self.addEventListener("activate", (event) => event.waitUntil((async () => {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith("session-relay-") && name !== NAME).map((name) => caches.delete(name)));
  await self.clients.claim();
})()));

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url), base = new URL("./", location.href).pathname;
  if (event.request.method !== "GET" || url.origin !== location.origin || !url.pathname.startsWith(base)) return;
  const path = url.pathname.slice(base.length);
  const shell = path === "" || path === "index.html" ? "./" : path;
  if (!FILES.includes(shell)) return;
  event.respondWith((async () => (await (await caches.open(NAME)).match(shell === "./" ? new URL("./", location.href).href : event.request, { ignoreSearch: true, ignoreVary: true })) ?? fetch(event.request))());
});

// An alert from the relay, sent while no page was open. One of the same matter replaces the one before.
self.addEventListener("push", (event) => {
  const alert = event.data?.json() ?? { id: "alert", text: "There is something to see." };
  event.waitUntil(self.registration.showNotification("Session Relay", { body: alert.text, tag: alert.id.replace(/[:/].*$/, ""), icon: "icons/icon-192.png" }));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil((async () => {
    const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    return pages.length ? pages[0].focus() : self.clients.openWindow("./");
  })());
});

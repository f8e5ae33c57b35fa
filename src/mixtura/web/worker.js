// The page without its server: its own files, as they were last seen. Nothing else is ever kept.
const SHELF = "mixtura-page";
const isOurs = (url) => url.origin === location.origin && !/^\/(?:api|v1|metrics|openapi\.json|healthz|readyz)/.test(url.pathname);

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !isOurs(new URL(request.url))) return;
  event.respondWith(newest(request));
});

// From the server where it answers; from the shelf where it does not.
async function newest(request) {
  const shelf = await caches.open(SHELF);
  try {
    const response = await fetch(request);
    if (response.ok) await shelf.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await shelf.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}

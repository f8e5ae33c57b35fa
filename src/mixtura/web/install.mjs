// The page as an app: what opens it where its server does not answer.

const WORKER = "./worker.js";

export async function keepPage() {
  if (!("serviceWorker" in navigator)) return;
  // The one address of a script that is made here, and a constant.
  const policy = globalThis.trustedTypes?.createPolicy("mixtura-worker", { createScriptURL: () => WORKER });
  try {
    await navigator.serviceWorker.register(policy ? policy.createScriptURL("") : WORKER);
  } catch {
    // no secure address, or not allowed here: the page works as before
    return;
  }
  // What was loaded before the worker listened is put on its shelf now.
  const shelf = await caches.open("mixtura-page");
  const loaded = performance.getEntriesByType("resource").map(({ name }) => new URL(name));
  const files = loaded.filter((url) => url.origin === location.origin && /\.(?:m?js|css|svg|woff2|webmanifest)$/.test(url.pathname));
  await Promise.all([location.pathname, ...files.map(String)].map((url) => shelf.add(url).catch(() => {})));
  document.documentElement.dataset.kept = "";
}

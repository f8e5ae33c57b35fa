// The server's stream: from bytes to the events of a run.
import { t } from "./language.mjs";
import { Run } from "./run.mjs";

export class Refused extends Error {
  constructor(status, message, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export function headers(key) {
  const common = { "Content-Type": "application/json" };
  return key ? { ...common, Authorization: `Bearer ${key}` } : common;
}

// What an answer that is no success says of itself. Always throws.
export async function refused(response) {
  let message = t("server.answered", { status: String(response.status) });
  let code = null;
  try {
    const { error } = await response.json();
    message = error.message ?? message;
    code = error.code ?? null;
  } catch {
    // not JSON: the status has to do
  }
  throw new Refused(response.status, message, code);
}

// The data of server-sent events; comments and what else there may be are passed over.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      let at;
      while ((at = rest.search(/\r?\n\r?\n/)) >= 0) {
        const frame = rest.slice(0, at);
        rest = rest.slice(at).replace(/^\r?\n\r?\n/, "");
        const data = frame.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
        if (data.length) yield data.join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const path = (id, what) => `/api/runs/${encodeURIComponent(id)}/${what}`;

// Begin a run that goes on without the page, and fold what comes into *run* until it is over.
// Raises Refused before it has begun. *signal* stops the run itself, *left* only this page's view.
export async function play(run, body, { key, signal, left, place = "", begun = () => {}, heard = () => {} }) {
  try {
    const response = await fetch(`/api/runs${place}`, { method: "POST", headers: headers(key), body: JSON.stringify(body) });
    if (!response.ok) await refused(response);
    run.id = (await response.json()).run;
    begun(run);
  } catch (error) {
    const said = error instanceof Refused;
    run.fail(said ? error.message : t("server.unreachable_run"), !said);
    if (said) throw error;
    return;
  }
  // Its events may be gone by now, after a long break: its record says what became of it.
  if (!(await attach(run, { key, signal, left, heard }))) run.stop();
}

// Follow a run that is under way, from its start. False where it is none.
export async function attach(run, { key, signal, left, heard = () => {} }) {
  const halt = () => fetch(path(run.id, "stop"), { method: "POST", headers: headers(key), body: "{}" }).catch(() => {});
  if (signal.aborted) halt();
  signal.addEventListener("abort", halt, { once: true });
  try {
    for (let tries = 0; tries < 6 && !left.aborted; tries += 1) {
      if (tries) await new Promise((done) => setTimeout(done, 250 * 2 ** tries));
      try {
        const response = await fetch(path(run.id, "events"), { headers: headers(key), signal: left });
        if (response.status === 404) {
          if (tries) run.stop(); // its record says what became of it
          return tries > 0;
        }
        if (!response.ok) await refused(response);
        run.began = performance.now() / 1000 - Number(response.headers.get("x-mixtura-age") ?? 0);
        if (await fold(run, response.body, heard)) return true;
        if (signal.aborted) {
          run.stop();
          return true;
        }
      } catch (error) {
        if (error instanceof Refused) throw error;
      }
    }
    if (!left.aborted) run.fail(t("server.unreachable_later"), true);
    return true;
  } finally {
    signal.removeEventListener("abort", halt);
  }
}

// True where the stream said how the run ended.
async function fold(run, body, heard) {
  let over = false;
  for await (const data of events(body)) {
    if (data === "[DONE]") break;
    const frame = JSON.parse(data);
    if (frame.error) {
      run.fail(frame.error.message);
      over = true;
    } else if (frame.mixtura?.event) {
      run.take(frame.mixtura);
      heard(frame.mixtura);
    } else if (frame.mixtura) {
      run.finish(frame.mixtura);
      over = true;
    }
  }
  return over;
}

export { Run };

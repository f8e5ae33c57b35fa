// The server's stream: from bytes to the events of a run.
import { Run } from "./run.mjs";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function headers(key) {
  const common = { "Content-Type": "application/json" };
  return key ? { ...common, Authorization: `Bearer ${key}` } : common;
}

// What an answer that is no success says of itself. Always throws.
export async function refused(response) {
  let message = `the server answered ${response.status}`;
  try {
    message = (await response.json()).error.message ?? message;
  } catch {
    // not JSON: the status has to do
  }
  throw new Refused(response.status, message);
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

// Ask, and fold what comes into *run* until it is over. Raises Refused before it has begun.
export async function play(run, body, { key, signal, heard = () => {} }) {
  try {
    const response = await fetch("/v1/chat/completions", { method: "POST", headers: headers(key), body: JSON.stringify(body), signal });
    if (!response.ok) await refused(response);
    run.id = response.headers.get("x-mixtura-run") ?? run.id;
    let over = false;
    for await (const data of events(response.body)) {
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
    if (!over) run.fail("the connection ended before the answer did");
  } catch (error) {
    if (signal.aborted) run.stop();
    else {
      run.fail(error instanceof Refused ? error.message : "the server cannot be reached");
      if (error instanceof Refused) throw error;
    }
  }
}

export { Run };

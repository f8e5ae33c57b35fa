// A run as the page sees it, whether it happens now or was recorded: calls, times, texts.
import { batch, signal } from "./base.mjs";

const PACE = 40; // milliseconds between two tellings of what came

// Where a call sits, as one string.
const placed = (at) => at.map((seat) => `${seat.role[0]}${seat.layer}.${seat.index}`).join("/");

export class Call {
  constructor(at, model) {
    const seat = at[at.length - 1];
    this.key = placed(at);
    this.at = at;
    this.role = seat.role;
    this.layer = seat.layer;
    this.index = seat.index;
    this.model = model;
    this.state = "waiting"; // then: asked, thinking, writing, done | failed | stopped
    this.text = "";
    this.thoughts = "";
    this.tokens = 0;
    this.started = null;
    this.first = null;
    this.ended = null;
    this.usage = null;
    this.cost = undefined;
    this.error = null;
    this.errorType = null;
    this.finish = null;
    this.restarts = 0;
    this.begunAnew = [];
    this.notices = [];
    this.replaced = [];
    this.sources = [];
    this.request = null;
    this.similarity = null;
    this.calls = [];
    this.tick = signal(0);
  }

  get over() {
    return this.state === "done" || this.state === "failed" || this.state === "stopped";
  }

  /** The kind of its error; null for one that the words alone tell, such as a call ended by hand. */
  get errorName() {
    return this.errorType === "ModelError" ? null : this.errorType;
  }

  get live() {
    return this.state === "asked" || this.state === "thinking" || this.state === "writing";
  }

  // Tokens a second from its first one on; while it writes, of the pieces that came.
  speed(at = null) {
    const until = this.ended ?? at;
    if (this.first === null || until === null || until - this.first < 0.02) return null;
    const wrote = this.ended === null ? this.tokens : (this.usage?.completion_tokens ?? this.tokens);
    return wrote > 1 ? wrote / (until - this.first) : null;
  }
}

export class Run {
  constructor(question, model = "") {
    this.id = null;
    this.question = question;
    this.model = model;
    this.pattern = null; // null is the plain mixture
    this.state = "starting"; // then: running, answered | degraded | failed | stopped
    this.error = null;
    this.errorIsOurs = false; // in the words of the page, not of the server
    this.began = null; // the run's zero on the browser's clock
    this.startedAt = null;
    this.seconds = null;
    this.cost = undefined;
    this.usage = null;
    this.leftOut = [];
    this.agreement = null;
    this.confidence = null;
    this.calls = [];
    this.sentences = null;
    this.recorded = false;
    this.glimpsed = false; // its drafts and numbers are not here yet: `fill` brings them
    this.asked = null; // { model, mixtura }: what answered it, by name and with its changes
    this.finishReason = null;
    this.messages = [];
    this.pictures = []; // of the question, as parts of a message
    this.tick = signal(0);
    this._places = new Map();
    this._dirty = new Set();
    this._due = false;
    this._flushed = 0;
  }

  get live() {
    return this.state === "starting" || this.state === "running";
  }

  get answer() {
    return this.answerCall?.text ?? "";
  }

  // The aggregator's last call; its answer is the run's.
  get answerCall() {
    return this.calls.findLast((call) => call.role === "aggregator") ?? null;
  }

  // The proposal that is the answer because no aggregator wrote one.
  get standIn() {
    const last = this.answerCall;
    if (!last?.error || !last.text) return null;
    return this.proposers.findLast((call) => call.text === last.text) ?? null;
  }

  // What the answer was made without: calls that failed, and what else there is to say.
  get shortfalls() {
    const errors = this.calls.map((call) => call.error).filter(Boolean);
    const failed = this.leftOut.filter((line) => errors.some((error) => line.includes(error)));
    return { failed: failed.length, notes: this.leftOut.length - failed.length };
  }

  get proposers() {
    return this.calls.filter((call) => call.role === "proposer");
  }

  // Rows of proposers, first layer first.
  get layers() {
    const rows = new Map();
    for (const call of this.proposers) {
      if (!rows.has(call.layer)) rows.set(call.layer, []);
      rows.get(call.layer).push(call);
    }
    return [...rows.entries()].sort((a, b) => a[0] - b[0]).map(([, row]) => row.sort((a, b) => a.index - b.index));
  }

  // What the numbers in `sentences` count: an answer asked for early has layers that none was asked in.
  get sources() {
    const asked = this.proposers.filter((call) => call.started !== null);
    const last = Math.max(0, ...asked.map((call) => call.layer));
    return asked.filter((call) => call.layer === last).sort((a, b) => a.started - b.started); // as they are recorded
  }

  elapsed(now) {
    if (this.seconds !== null) return this.seconds;
    return this.began === null ? 0 : Math.max(0, now - this.began);
  }

  // Every call at any depth, with its depth.
  *all(calls = this.calls, depth = 0) {
    for (const call of calls) {
      yield [call, depth];
      yield* this.all(call.calls, depth + 1);
    }
  }

  // ---- as it happens

  // Seats that will be asked, before they are.
  expect(shape, outer = []) {
    shape.forEach((row, i) => {
      const role = i === shape.length - 1 ? "aggregator" : "proposer";
      row.forEach((model, index) => this._add(new Call([...outer, { layer: i + 1, index, role }], model)));
    });
  }

  take(event) {
    const { at = [], seconds } = event;
    if (this.began === null) this.began = performance.now() / 1000 - (seconds ?? 0);
    if (event.event === "run_started") {
      this._begun(event, at);
    } else if (event.event === "asked") {
      this._asked(event, at);
    } else if (event.event === "completed") {
      this.touch();
    } else {
      const call = this._places.get(placed(at));
      if (call) this._happened(call, event);
    }
  }

  finish(summary) {
    this.id = summary.run ?? this.id;
    this.seconds = summary.seconds;
    this.cost = summary.cost_usd;
    this.leftOut = summary.left_out ?? [];
    this.agreement = summary.agreement ?? null;
    this.confidence = summary.confidence ?? null;
    this._over(summary.degraded ? "degraded" : "answered");
  }

  fail(message, ours = false) {
    this.error = message;
    this.errorIsOurs = ours;
    this._over("failed");
  }

  stop() {
    this._over("stopped");
  }

  touch(call = null) {
    if (call) this._dirty.add(call);
    if (this._due) return;
    this._due = true;
    const flush = () => this.flush();
    const wait = PACE - (performance.now() - this._flushed);
    if (document.hidden) setTimeout(flush, 100);
    else if (wait > 0) setTimeout(() => requestAnimationFrame(flush), wait);
    else requestAnimationFrame(flush);
  }

  // Tell whoever watches, 25 times a second at most, however many tokens came.
  flush() {
    this._due = false;
    this._flushed = performance.now();
    const changed = [...this._dirty];
    this._dirty.clear();
    batch(() => {
      this.tick.value += 1;
      for (const call of changed) call.tick.value += 1;
    });
  }

  _add(call) {
    const outer = this._places.get(placed(call.at.slice(0, -1)));
    (outer ? outer.calls : this.calls).push(call);
    this._places.set(call.key, call);
    this.touch(outer);
    return call;
  }

  _begun(event, at) {
    if (at.length === 0) {
      this.state = "running";
      this.id = event.run ?? this.id;
      this.model = event.model;
      this.pattern = event.pattern ?? this.pattern;
      this.calls = [];
      this._places.clear();
    }
    if (event.shape) this.expect(event.shape, at);
    this.touch();
  }

  _asked(event, at) {
    if (at.length === 0) return;
    if (at.at(-1).role === "judge") this._forget([...at.slice(0, -1), { ...at.at(-1), role: "proposer" }]);
    let call = this._places.get(placed(at));
    if (!call || call.state !== "waiting") call = this._add(new Call(at, event.model));
    call.model = event.model;
    call.state = "asked";
    call.started = event.seconds;
    this.touch(call);
  }

  // A layer that the shape foretold may be a judge's alone: nobody proposes there.
  _forget(at) {
    const call = this._places.get(placed(at));
    if (call?.state !== "waiting") return;
    const row = this._places.get(placed(at.slice(0, -1)))?.calls ?? this.calls;
    row.splice(row.indexOf(call), 1);
    this._places.delete(call.key);
  }

  _happened(call, event) {
    const kind = event.event;
    if (kind === "token") this._token(call, event);
    else if (kind === "restarted") {
      call.text = call.thoughts = "";
      call.tokens = 0;
      call.first = null;
      call.state = "asked";
      call.restarts += 1;
      call.begunAnew.push({ at: event.seconds, error: event.error, wait: event.wait });
    } else if (kind === "noticed") call.notices.push(event.notice);
    else if (kind === "proposal" || kind === "aggregated") this._said(call, event);
    else if (kind === "failure") {
      call.state = "failed";
      call.error = event.error;
      call.errorType = event.error_type;
      call.ended = event.seconds;
    }
    this.touch(call);
  }

  _token(call, event) {
    call.first ??= event.seconds;
    call.tokens += event.pieces ?? 1;
    if (call.state === "failed") call.text = call.thoughts = ""; // another's answer stands in
    else call.state = event.reasoning ? "thinking" : "writing";
    if (event.reasoning) call.thoughts += event.text;
    else call.text += event.text;
    // The aggregator inside writes what the mixture around it says.
    for (let depth = call.at.length - 1; depth > 0; depth -= 1) {
      if (call.at[depth].role !== "aggregator") break;
      const outer = this._places.get(placed(call.at.slice(0, depth)));
      if (!outer) break;
      outer.first ??= event.seconds;
      outer.tokens += event.pieces ?? 1;
      outer.state = call.state;
      if (!event.reasoning) outer.text += event.text;
      this.touch(outer);
    }
  }

  _said(call, event) {
    if (call.error) return; // a proposal that stands in is another call's answer
    call.state = "done";
    call.text = event.text;
    call.thoughts = event.reasoning || call.thoughts;
    call.usage = event.usage;
    call.cost = event.cost_usd;
    call.finish = event.finish_reason;
    call.first ??= event.seconds;
    call.ended = event.seconds;
  }

  _over(state) {
    this.state = state;
    const end = this.seconds ?? (this.began === null ? 0 : performance.now() / 1000 - this.began);
    this.seconds = end;
    for (const [call] of this.all()) {
      if (call.live) {
        call.state = "stopped";
        call.ended = end;
      }
      this._dirty.add(call);
    }
    this.flush();
  }

  // ---- as it was recorded

  static from(record) {
    const messages = record.request?.messages ?? [];
    const last = messages.findLastIndex((message) => message.role === "user");
    const run = new Run(last < 0 ? "" : questionOf(messages[last]), record.model ?? "");
    run.pictures = last < 0 ? [] : picturesOf(messages[last]);
    run.messages = messages.slice(0, Math.max(last, 0));
    run.calls = record.calls.map((row) => recalled(row, [], record));
    run.state = record.state;
    run.began = 0;
    run.learn(record);
    return run;
  }

  // As a conversation shows it at a glance.
  static glimpsed(row) {
    const run = new Run(row.message ? questionOf(row.message) : "", row.model ?? "");
    run.pictures = row.message ? picturesOf(row.message) : [];
    run.messages = row.before ?? [];
    run.calls = (row.calls ?? []).map((one) => {
      const call = new Call([{ layer: one.layer, index: one.index, role: one.role }], one.model);
      call.state = one.state;
      return call;
    });
    if (row.answer && !run.answerCall) run.calls.push(new Call([{ layer: 1, index: 0, role: "aggregator" }], row.model ?? ""));
    if (row.answer) run.answerCall.text = row.answer;
    run.askedCalls = row.asked_calls ?? null;
    run.began = 0;
    run.glimpsed = true;
    run._learnEnd(row);
    return run;
  }

  // The whole record in place of a glance.
  fill(record) {
    this.calls = record.calls.map((row) => recalled(row, [], record));
    this.glimpsed = false;
    this.learn(record);
  }

  // What only the record knows: the requests, the likenesses, whose sentence is whose.
  learn(record) {
    this._learnEnd(record);
    this.finishReason = record.finish_reason;
    this.sentences = record.sentences ?? null;
    learned(this.calls, record.calls);
    for (const [call] of this.all()) this._dirty.add(call);
    this.flush();
  }

  _learnEnd(record) {
    this.id = record.id;
    this.asked = record.asked ?? this.asked;
    this.startedAt = record.started;
    this.pattern = record.pattern ?? this.pattern;
    this.state = record.state;
    this.error = ["failed", "damaged", "unfinished"].includes(record.state) ? record.error : this.error;
    this.seconds = record.seconds ?? null;
    this.cost = record.cost_usd;
    this.usage = record.usage ?? null;
    this.leftOut = record.left_out ?? [];
    this.agreement = record.agreement ?? null;
    this.confidence = record.confidence ?? null;
    this.recorded = true;
  }
}

const isPicture = (part) => part.type === "image_url";
const picturesOf = ({ content }) => (Array.isArray(content) ? content.filter(isPicture) : []);
const questionOf = ({ content }) => said({ content: Array.isArray(content) ? content.filter((part) => !isPicture(part)) : content });

// A message's words, whatever form its content has.
export function said(message) {
  const { content } = message;
  if (typeof content === "string") return content;
  return (content ?? []).map((part) => part.text ?? `[${part.type}]`).join("\n");
}

function recalled(row, outer, run) {
  const at = [...outer, { layer: row.layer, index: row.index, role: row.role }];
  const call = new Call(at, row.model);
  call.text = row.text;
  call.tokens = row.pieces?.length ?? 0;
  call.started = row.started_seconds;
  call.first = row.first_token_seconds === null ? null : row.started_seconds + row.first_token_seconds;
  call.ended = row.seconds === null ? run.seconds : row.started_seconds + row.seconds;
  call.error = row.error;
  call.errorType = row.error_type;
  call.thoughts = row.completion?.reasoning ?? "";
  call.finish = row.completion?.finish_reason ?? null;
  call.state = row.error ? "failed" : row.completion ? "done" : "stopped";
  call.calls = (row.calls ?? []).map((inner) => recalled(inner, at, run));
  return call;
}

// Rows of a record belong to calls by their seat, and by their turn where one seat was asked twice.
function learned(calls, rows) {
  const taken = new Set();
  for (const row of rows) {
    const call = calls.find(
      (one) => !taken.has(one) && one.role === row.role && one.layer === row.layer && one.index === row.index,
    );
    if (!call) continue;
    taken.add(call);
    call.request = row.request;
    call.usage = row.usage;
    call.cost = row.cost_usd;
    call.restarts = row.restarts;
    call.notices = row.notices;
    call.replaced = row.replaced ?? [];
    call.sources = row.completion?.sources ?? [];
    call.similarity = row.similarity ?? null;
    learned(call.calls, row.calls ?? []);
  }
}

// The calls that the whole run waited for: in every layer, and of its judges, the one that ended last, and the answer.
export function critical(run) {
  const path = [];
  for (const row of run.layers) {
    const after = run.calls.filter((call) => call.layer > row[0].layer && call.started !== null);
    const next = after.length ? Math.min(...after.map((call) => call.started)) : Infinity;
    const waited = row.filter((call) => call.started !== null && (call.ended ?? Infinity) <= next + 0.05);
    const all = waited.length ? waited : row.filter((call) => call.started !== null);
    const last = all.reduce((a, b) => (!a || (b.ended ?? Infinity) > (a.ended ?? Infinity) ? b : a), null);
    if (last) path.push(last);
  }
  const judges = new Map();
  for (const call of run.calls) if (call.role === "judge" && (call.ended ?? Infinity) >= (judges.get(call.layer)?.ended ?? 0)) judges.set(call.layer, call);
  path.push(...judges.values());
  path.sort((a, b) => a.layer - b.layer);
  for (const call of run.calls) if (call.role === "aggregator" && call.started !== null) path.push(call);
  return path;
}

// How much of the answer each source is the closest to, by letters; and what comes from none.
export function shares(run) {
  const sums = run.sources.map(() => 0);
  let none = 0;
  let all = 0;
  for (const { text, from } of run.sentences ?? []) {
    const size = text.trim().length;
    all += size;
    if (from.length) sums[from[0].call] += size;
    else none += size;
  }
  return { each: sums.map((sum) => (all ? sum / all : 0)), none: all ? none / all : 0 };
}

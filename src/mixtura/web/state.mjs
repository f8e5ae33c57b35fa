// What the page knows: who may ask, what there is to ask, the conversation, past runs.
import { call, kept, key, locked } from "./access.mjs";
import { batch, computed, dialog, say, signal, tell } from "./base.mjs";
import { count, dollars, ending, learnEndings, seconds, short } from "./format.mjs";
import { Run, said } from "./run.mjs";
import { attach, play, Refused } from "./stream.mjs";

// ---- who may come in

export const setup = signal(null);
export const broken = signal(null);

export async function enter(text) {
  key.value = text || null;
  try {
    const known = await (await call("/api/setup")).json();
    learnEndings(known.patterns);
    setup.value = known;
    kept.set("mixtura.key", key.value);
    batch(() => {
      locked.value = false;
      broken.value = null;
      if (!choice.value.model) choose(opener(setup.value));
    });
    search.value = "";
    list();
    return true;
  } catch (error) {
    if (!(error instanceof Refused)) broken.value = "The server cannot be reached.";
    else if (error.status !== 401) broken.value = error.message;
    return false;
  }
}

// What the page opens on: the default, or, for a key that may not use it, the first that it may.
function opener({ default: wanted, keys, mixtures, models }) {
  const all = [...mixtures, ...models];
  const listed = (name) => all.some((one) => one.name === name);
  if (!keys || listed(wanted)) return wanted;
  if (listed("default")) return "default"; // the same by the name that this key knows
  return all.find((one) => !one.problem)?.name ?? wanted;
}

// ---- what to ask: a mixture, changed or not

export const choice = signal({ model: "", proposers: null, aggregator: null, layers: null, against: "", agreement: false });
export const plan = signal({ state: "none" });
export const draft = signal("");

export function choose(model) {
  choice.value = { ...choice.value, model, proposers: null, aggregator: null, layers: null };
}

export const mixture = computed(() => setup.value?.mixtures.find((one) => one.name === choice.value.model) ?? null);

// The choice as it is edited: the preset's own where nothing was changed.
export const edited = computed(() => {
  const { proposers, aggregator, layers } = choice.value;
  const rows = plan.value.data?.layers ?? mixture.value?.layers.map((row) => row.flatMap((s) => Array(s.samples).fill(s.model))) ?? [];
  return {
    proposers: proposers ?? grouped(rows[0] ?? []),
    aggregator: aggregator ?? plan.value.data?.aggregator ?? mixture.value?.aggregator ?? "",
    layers: layers ?? rows.length + 1,
    changed: Boolean(proposers || aggregator || layers),
  };
});

// How the mixture comes to its answer; null is the plain way.
export const pattern = computed(() => {
  const planned = plan.value.of === wanted() ? plan.value.data?.pattern : null;
  return unusual(mixture.value?.pattern ?? planned);
});

const unusual = (name) => (name && name !== "mixture" ? name : null);

function grouped(names) {
  const rows = [];
  for (const model of names) {
    const last = rows[rows.length - 1];
    if (last?.model === model) last.samples += 1;
    else rows.push({ model, samples: 1 });
  }
  return rows;
}

function wish() {
  const { proposers, aggregator, layers, agreement } = choice.value;
  const body = agreement ? { agreement } : {};
  if (proposers) {
    body.proposers = proposers.filter((row) => row.model.trim()).map(({ model, samples }) => (samples > 1 ? `${model.trim()}*${samples}` : model.trim()));
    body.aggregator = edited.value.aggregator || undefined;
    body.layers = Math.max(2, edited.value.layers);
  } else {
    if (aggregator) body.aggregator = aggregator;
    if (layers) body.layers = layers;
  }
  return body;
}

// What a plan is of: it holds for nothing else.
const wanted = () => JSON.stringify([choice.value.model, wish(), choice.value.against]);

// Why this cannot be asked, as far as is known.
export const refusal = computed(() => {
  const { state, data, error, of } = plan.value;
  if (of !== wanted()) return null;
  return error ?? (state !== "error" && data?.problem ? `it cannot run here: ${data.problem}` : null);
});

// A name that nobody knows: not all of those that there are.
const withoutWall = (message) => message.replace(/: choose one of (?:[^,]*,){8}[^]*$/, ": no model or mixture here is called so; the field lists those that are");

let planning;
let planTimer;
export function replan() {
  clearTimeout(planTimer);
  if (!choice.value.model || !setup.value) return;
  planTimer = setTimeout(async () => {
    planning?.abort();
    planning = new AbortController();
    const { signal: stop } = planning;
    const of = wanted();
    plan.value = { ...plan.value, state: "loading" };
    try {
      const body = { model: choice.value.model, mixtura: wish(), messages: messages(draft.value), against: choice.value.against || undefined };
      const response = await call("/api/plan", { method: "POST", body, signal: stop });
      plan.value = { state: "ready", data: await response.json(), of };
    } catch (error) {
      if (stop.aborted) return;
      const reached = error instanceof Refused;
      plan.value = { state: "error", data: plan.value.data, error: reached ? withoutWall(error.message) : "The server cannot be reached.", of };
      if (!reached) planTimer = setTimeout(replan, 3000); // it may be there again
    }
  }, 250);
}

// ---- the conversation

export const turns = signal([]);
// Somebody still writes in this conversation; to fetch a record is not to be busy.
export const busy = computed(() =>
  turns.value.flatMap(({ run, alone }) => (alone ? [run, alone] : [run])).some((run) => (run.tick.value, run.live)),
);
export const opening = signal(false);
let stopping = null;
let leaving = new AbortController(); // the page looks elsewhere: its runs go on

// Tabs of this server tell each other when a run begins or ends.
const tabs = "BroadcastChannel" in window ? new BroadcastChannel("mixtura.runs") : null;
if (tabs) tabs.onmessage = () => list();
function listAll() {
  list();
  tabs?.postMessage("changed");
}

function leave() {
  leaving.abort();
  leaving = new AbortController();
  stopping = null;
}

function messages(question, turnsBefore = turns.value) {
  const before = turnsBefore.flatMap((turn) =>
    turn.run.answer && turn.run.state !== "failed"
      ? [...turn.earlier, { role: "user", content: turn.run.question }, { role: "assistant", content: turn.run.answer }]
      : turn.earlier,
  );
  return question ? [...before, { role: "user", content: question }] : before;
}

let made = 0;
function turn(run, earlier = [], alone = null) {
  made += 1;
  return { number: made, run, earlier, alone, open: signal(true) };
}

export async function ask(question) {
  if (busy.value || refusal.value || !question.trim()) return;
  const history = messages(question);
  const run = new Run(question, choice.value.model);
  run.pattern = pattern.value;
  const against = choice.value.against;
  const alone = against ? new Run(question, against) : null;
  if (plan.value.data?.layers) run.expect([...plan.value.data.layers, [plan.value.data.aggregator]]);
  for (const old of turns.value) old.open.value = false;
  const mine = (stopping = new AbortController());
  batch(() => {
    turns.value = [...turns.value, turn(run, [], alone)];
    draft.value = "";
  });
  say(`Asked ${count(plan.value.data?.calls ?? 1, "model call")}.`);
  const both = [
    follow(run, { model: choice.value.model, messages: history, mixtura: wish() }, mine, narrator(run)),
    ...(alone ? [follow(alone, { model: against, messages: history, mixtura: {} }, mine)] : []),
  ];
  await Promise.all(both);
  if (stopping === mine) stopping = null;
  listAll();
}

async function follow(run, body, stopper, heard) {
  const left = leaving.signal;
  const whole = { ...body, stream: true, mixtura: { ...body.mixtura, proposals: true } };
  try {
    const begun = () => {
      if (current.value === run) point(run.id, true);
      listAll();
    };
    await play(run, whole, { key: key.value, signal: stopper.signal, left, begun, heard });
  } catch (error) {
    if (error.status === 401) locked.value = true;
  }
  if (left.aborted) return;
  heard?.(null);
  if (setup.value?.runs && run.id) await remember(run);
}

// What is said aloud: a sentence a proposal, never a token.
function narrator(run) {
  return (event) => {
    if (event === null) {
      if (run.state === "failed") say(`No answer. ${run.error}`);
      else if (run.state === "stopped") say("Stopped.");
      else say(`The answer is complete, after ${seconds(run.seconds)}, for ${dollars(run.cost)}.`);
      return;
    }
    if (event.at?.length > 1) return;
    if (event.event === "proposal") {
      const row = run.layers.find((one) => one[0].layer === event.at[0].layer) ?? [];
      say(`Layer ${event.at[0].layer}: ${row.filter((one) => one.over).length} of ${row.length} drafts.`);
    } else if (event.event === "failure") say(`${short(event.model)} failed: ${event.error}`);
    else if (event.event === "asked" && event.at[0].role === "aggregator") say(`${short(event.model)} ${ending(run.pattern).said}.`);
  };
}

// The record is written a moment after the answer's end.
async function remember(run) {
  for (const wait of [60, 200, 500, 1200, 2500, 5000, 10000, 20000]) {
    await new Promise((done) => setTimeout(done, wait));
    try {
      const error = run.error;
      const record = await (await call(`/api/runs/${encodeURIComponent(run.id)}`)).json();
      if (record.state === "running") continue;
      run.learn(record);
      run.error = run.error ?? error;
      return true;
    } catch (error) {
      if (error.status !== 404) return false;
    }
  }
  return false;
}

export function stop() {
  if (!stopping) return false;
  stopping.abort();
  return true;
}

// A hand on a run under way: "answer_now", or "leave_out" with the place of a proposer.
export async function steer(run, action, place = {}) {
  try {
    await call(`/api/runs/${encodeURIComponent(run.id)}/control`, { method: "POST", body: { action, ...place } });
    say(action === "answer_now" ? "The answer is made of what is there." : "The proposer is left out.");
  } catch (error) {
    tell(error instanceof Refused ? `Not possible now: ${error.message}` : "The server cannot be reached.");
  }
}

export async function again(one) {
  if (busy.value) return;
  if (refusal.value) {
    tell(`This cannot be asked: ${refusal.value}`);
    return;
  }
  turns.value = turns.value.filter((other) => other !== one);
  await ask(one.run.question);
}

// What was said up to a turn, its question at the end.
export function conversationBefore(one) {
  const all = turns.value;
  return [...messages("", all.slice(0, all.indexOf(one))), ...one.earlier, { role: "user", content: one.run.question }];
}

// The same question to one model alone, beside an answer that is there.
export async function compare(one, model) {
  if (busy.value) return;
  const alone = new Run(one.run.question, model);
  const all = turns.value;
  const history = conversationBefore(one);
  const mine = (stopping = new AbortController());
  turns.value = all.map((other) => (other === one ? { ...one, alone } : other));
  await follow(alone, { model, messages: history, mixtura: {} }, mine);
  if (stopping === mine) stopping = null;
  say(`${short(model)} alone took ${seconds(alone.seconds)}.`);
  list();
}

// ---- past runs

export const runs = signal({ rows: [], more: false, loading: false, error: null });
export const search = signal("");
let listing = 0;

export async function list(more = false) {
  if (!setup.value?.runs) return;
  listing += 1;
  const mine = listing;
  const before = more ? runs.value.rows.at(-1)?.id : null;
  const query = new URLSearchParams({ limit: "40" });
  if (before) query.set("before", before);
  if (search.value.trim()) query.set("q", search.value.trim());
  runs.value = { ...runs.value, loading: true };
  try {
    const found = await (await call(`/api/runs?${query}`)).json();
    if (mine !== listing) return;
    runs.value = { rows: more ? [...runs.value.rows, ...found.runs] : found.runs, more: found.more, loading: false, error: null };
  } catch (error) {
    if (mine === listing) runs.value = { ...runs.value, loading: false, error: error.message };
  }
}

// A step of the history for each run, so that Back leads to the one before.
function point(id, step = false) {
  const address = id ? `#run/${id}` : location.pathname;
  if (step && location.hash !== address) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

export const current = computed(() => turns.value.at(-1)?.run ?? null);

export function fresh(step = true) {
  leave();
  batch(() => {
    turns.value = [];
    dialog.value = null;
  });
  if (step && location.hash) history.pushState(null, "", location.pathname);
}

export async function reopen(id) {
  if (turns.value.at(-1)?.run.id === id) return;
  leave();
  opening.value = true;
  try {
    const record = await (await call(`/api/runs/${encodeURIComponent(id)}`)).json();
    const run = Run.from(record);
    run.pattern ??= unusual(setup.value?.mixtures.find((one) => one.name === run.model)?.pattern);
    batch(() => {
      dialog.value = null;
      turns.value = [turn(run, run.messages.map(({ role, ...rest }) => ({ role, content: said(rest) })))];
    });
    point(id, true);
    say(`Opened the run: ${run.question}`);
    if (record.state === "running") await rejoin(run);
  } catch (error) {
    tell(error.status === 404 ? "That run is no longer there." : error.message);
    point(null);
  } finally {
    opening.value = false;
  }
}

// A run that goes on at the server, begun on this page or in another tab.
async function rejoin(run) {
  const [mine, left] = [(stopping = new AbortController()), leaving.signal];
  run.calls = [];
  run.state = "starting";
  run.seconds = null;
  run.recorded = false;
  run.touch();
  opening.value = false;
  const heard = narrator(run);
  const live = await attach(run, { key: key.value, signal: mine.signal, left, heard });
  if (stopping === mine) stopping = null;
  if (left.aborted) return;
  if (live) heard(null);
  const learned = await remember(run);
  if (!live && !learned) run.fail("this run was asked over the API: reload the page once it has ended");
  listAll();
}

export async function remove(id) {
  try {
    await call(`/api/runs/${encodeURIComponent(id)}`, { method: "DELETE" });
    runs.value = { ...runs.value, rows: runs.value.rows.filter((row) => row.id !== id) };
    if (turns.value.at(-1)?.run.id === id) fresh();
    tell("Run deleted");
  } catch (error) {
    tell(error.message);
  }
}

// One file that shows the run anywhere.
export async function share(run) {
  try {
    const response = await call(`/api/runs/${encodeURIComponent(run.id)}/html`);
    const url = URL.createObjectURL(await response.blob());
    const link = document.createElement("a");
    link.href = url;
    link.download = `mixtura-${run.id}.html`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    tell("Saved as one HTML file");
  } catch (error) {
    tell(error.message);
  }
}

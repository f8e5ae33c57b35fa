// The page's state: who may ask, what there is to ask, the conversation, past runs.
import { call, kept, key, locked } from "./access.mjs";
import { besideOf, branchOf, conversation, download, fetchConversation, forget, newestAfter, updateConversation } from "./conversation.mjs";
import { attached, contentOf, pictureParts, withFiles } from "./attachments.mjs";
import { batch, computed, dialog, say, signal, tell } from "./base.mjs";
import { dollars, ending, hindrance, learnEndings, seconds, short } from "./format.mjs";
import { language, t } from "./language.mjs";
import { Run, said } from "./run.mjs";
import { readSeat, settingsOf, writeSeat } from "./seats.mjs";
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
    if (!(error instanceof Refused)) broken.value = t("server.unreachable");
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

export const choice = signal({ model: "", proposers: null, aggregator: null, layers: null, last: null, against: "", blind: false, agreement: false, system: "" });
export const plan = signal({ state: "none" });
export const draft = signal("");

export function choose(model) {
  choice.value = { ...choice.value, model, proposers: null, aggregator: null, layers: null, last: null };
}

export const mixture = computed(() => setup.value?.mixtures.find((one) => one.name === choice.value.model) ?? null);

// The choice as it is edited: the preset's own where nothing was changed.
export const edited = computed(() => {
  const { proposers, aggregator, layers, last } = choice.value;
  const rows = plan.value.data?.layers ?? mixture.value?.layers.map((row) => row.flatMap((s) => Array(s.samples).fill(s.model))) ?? [];
  return {
    proposers: proposers ?? mixture.value?.layers[0] ?? grouped(rows[0] ?? []),
    aggregator: aggregator ?? plan.value.data?.aggregator ?? mixture.value?.aggregator ?? "",
    last: last ?? mixture.value?.last ?? {},
    layers: layers ?? rows.length + 1,
    changed: Boolean(proposers || aggregator || layers || last),
  };
});

// How the mixture comes to its answer; null is the plain way.
export const pattern = computed(() => {
  const planned = plan.value.of === wanted() ? plan.value.data?.pattern : null;
  return unusual(mixture.value?.pattern ?? planned);
});

const unusual = (name) => (name && name !== "mixture" ? name : null);

// What a run was asked of is chosen again, with its changes; an older one's by its name.
function chooseAgain(run) {
  const { mixtures = [], models = [] } = setup.value ?? {};
  if (!run.asked) {
    if ([...mixtures, ...models].some((one) => one.name === run.model)) choose(run.model);
    return;
  }
  const { proposers, aggregator = null, layers = null, agreement = false } = run.asked.mixtura ?? {};
  const last = typeof aggregator === "string" ? null : aggregator;
  choice.value = { ...choice.value, model: run.asked.model, proposers: proposers?.map(readSeat) ?? null, aggregator: last?.model ?? aggregator, last, layers, agreement };
}

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
  const { agreement } = choice.value;
  return agreement ? { agreement, ...changes() } : changes();
}

// What is changed of the mixture, as the server's option `mixtura` says it.
export function changes() {
  const { proposers, aggregator, layers, last } = choice.value;
  const body = {};
  if (proposers) {
    const seats = mixture.value?.layers.flat() ?? [];
    body.proposers = proposers.filter((row) => row.model.trim()).map((row) => writeSeat(row, seats));
    body.aggregator = edited.value.aggregator || undefined;
    body.layers = Math.max(2, edited.value.layers);
  } else {
    if (aggregator) body.aggregator = aggregator;
    if (layers) body.layers = layers;
  }
  if (last) body.aggregator = { ...settingsOf(last), model: edited.value.aggregator.trim() };
  return body;
}

// What a plan is of: it holds for nothing else.
const wanted = () => JSON.stringify([choice.value.model, wish(), choice.value.against]);

// Why this cannot be asked, as far as is known.
export const refusal = computed(() => {
  const { state, data, error, of } = plan.value;
  language.value; // it is said in its words
  if (of !== wanted()) return null;
  return error ?? (state !== "error" && data?.problem ? t("composer.cannot_run", { why: hindrance(data.problem) }) : null);
});

// A name that nobody knows: not all of those that there are.
const withoutWall = (message) => message.replace(/^([^]*?): choose one of (?:[^,]*,){8}[^]*$/, (_, problem) => t("composer.no_name", { problem }));

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
      const body = { model: choice.value.model, mixtura: wish(), messages: messages(withFiles(draft.value), { pictures: pictureParts() }), against: choice.value.against || undefined };
      const response = await call("/api/plan", { method: "POST", body, signal: stop });
      plan.value = { state: "ready", data: await response.json(), of };
    } catch (error) {
      if (stop.aborted) return;
      const reached = error instanceof Refused;
      plan.value = { state: "error", data: plan.value.data, error: reached ? withoutWall(error.message) : t("server.unreachable"), of };
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

function messages(question, { before: turnsBefore = turns.value, earlier = [], pictures = [] } = {}) {
  const before = turnsBefore.flatMap((turn) =>
    turn.run.answer && turn.run.state !== "failed"
      ? [...turn.earlier, { role: "user", content: contentOf(turn.run.question, turn.run.pictures) }, { role: "assistant", content: turn.run.answer }]
      : turn.earlier,
  );
  const all = question ? [...before, ...earlier, { role: "user", content: contentOf(question, pictures) }] : before;
  const { system } = choice.value;
  return system?.trim() && all[0]?.role !== "system" ? [{ role: "system", content: system.trim() }, ...all] : all;
}

let made = 0;
function turn(run, earlier = [], alone = null, open = true, blind = null) {
  made += 1;
  return { number: made, run, earlier, alone, open: signal(open), blind: signal(blind) };
}

// Where a run stands, for the server: behind the last of *before*, in this conversation.
function placeAfter(before) {
  const query = new URLSearchParams();
  const last = before.at(-1)?.run.id;
  if (last) query.set("previous", last);
  if (conversation.value) query.set("conversation", conversation.value.id);
  return query.size ? `?${query}` : "";
}

export async function ask(question) {
  if (busy.value || refusal.value || !question.trim()) return;
  const [text, pictures] = [withFiles(question), pictureParts()];
  batch(() => {
    draft.value = "";
    attached.value = [];
  });
  await askAfter(text, turns.value, { pictures });
}

// Another question, or another answer, in place of a turn: what came after it stays in its branch.
export function askAt(one, question) {
  const at = turns.value.findIndex((other) => other.number === one.number);
  return askAfter(question, turns.value.slice(0, Math.max(at, 0)), { earlier: one.earlier, pictures: one.run.pictures });
}

async function askAfter(question, before, { earlier = [], pictures = [] } = {}) {
  if (busy.value || !question.trim()) return;
  if (refusal.value) {
    if (before.length < turns.value.length) tell(t("composer.refused", { why: refusal.value }));
    return;
  }
  const history = messages(question, { before, earlier, pictures });
  const run = new Run(question, choice.value.model);
  run.pictures = pictures;
  run.pattern = pattern.value;
  run.asked = { model: choice.value.model, mixtura: wish() };
  const against = choice.value.against;
  const alone = against ? new Run(question, against) : null;
  if (plan.value.data?.layers) run.expect([...plan.value.data.layers, [plan.value.data.aggregator]]);
  for (const old of turns.value) old.open.value = false;
  const mine = (stopping = new AbortController());
  const place = placeAfter(before);
  const blind = alone && choice.value.blind ? { swapped: Math.random() < 0.5, choice: null } : null;
  batch(() => {
    turns.value = [...before, turn(run, earlier, alone, true, blind)];
    if (before.length === 0 && !place) conversation.value = null;
    draft.value = question === draft.value ? "" : draft.value;
  });
  say(t("told.asked", { calls: t("model_calls", { n: plan.value.data?.calls ?? 1 }) }));
  const body = { model: choice.value.model, messages: history, mixtura: run.asked.mixtura };
  const besides = (begun) => (alone && begun ? follow(alone, { model: against, messages: history, mixtura: {} }, mine, { place: `?beside=${run.id}${blind ? `&blind=${blind.swapped ? "model" : "mixture"}` : ""}` }) : null);
  let other = null;
  await follow(run, body, mine, { heard: narrator(run), place, begun: () => (other = besides(true)) });
  if (alone && !other && !run.id) alone.fail(t("runs.not_asked"), true);
  await other;
  if (stopping === mine) stopping = null;
  listAll();
}

async function follow(run, body, stopper, { heard = () => {}, place = "", begun: then = null } = {}) {
  const left = leaving.signal;
  const whole = { ...body, stream: true, mixtura: { ...body.mixtura, proposals: true } };
  try {
    const begun = () => {
      then?.();
      if (current.value === run) {
        point(run.id, true);
        refresh(run.id, left);
      }
      listAll();
    };
    await play(run, whole, { key: key.value, signal: stopper.signal, left, place, begun, heard });
  } catch (error) {
    if (error.status === 401) locked.value = true;
  }
  if (left.aborted) return;
  heard(null);
  if (setup.value?.runs && run.id) {
    await remember(run);
    await refresh(run.id, left);
  }
}

// What the server knows of the conversation by now: its branches, its name, its cost.
async function refresh(id, left = leaving.signal) {
  if (!setup.value?.runs) return;
  try {
    await updateConversation(id, () => !left.aborted);
  } catch {
    // the next one will do
  }
}

// What is said aloud: a sentence a proposal, never a token.
function narrator(run) {
  return (event) => {
    if (event === null) {
      if (run.state === "failed") say(t("told.failed", { error: run.error }));
      else if (run.state === "stopped") say(t("told.stopped"));
      else say(t("told.complete", { time: seconds(run.seconds), cost: dollars(run.cost) }));
      return;
    }
    if (event.at?.length > 1) return;
    if (event.event === "proposal" && event.at[0].role === "proposer") {
      const row = run.layers.find((one) => one[0].layer === event.at[0].layer) ?? [];
      say(t("told.drafts", { layer: event.at[0].layer, there: row.filter((one) => one.over).length, n: row.length }));
    } else if (event.event === "failure") say(t("told.call_failed", { model: short(event.model), error: event.error }));
    else if (event.event === "asked" && event.at[0].role === "aggregator") say(t("told.last", { model: short(event.model), said: ending(run.pattern).said }));
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
      if (!run.calls.length) run.fill(record); // its events were gone
      else run.learn(record);
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
    say(t(`told.${action}`));
  } catch (error) {
    tell(error instanceof Refused ? t("told.not_now", { why: error.message }) : t("server.unreachable"));
  }
}

// Another version of a turn, made of the drafts that are there: *wish* says what is asked for.
export async function goOn(one, wish) {
  if (busy.value) return;
  try {
    const begun = await (await call(`/api/runs/${encodeURIComponent(one.run.id)}/again`, { method: "POST", body: wish })).json();
    const run = new Run(one.run.question, one.run.model);
    run.id = begun.run;
    run.pictures = one.run.pictures;
    run.asked = one.run.asked;
    const at = turns.value.findIndex((other) => other.number === one.number);
    turns.value = [...turns.value.slice(0, Math.max(at, 0)), turn(run, one.earlier)];
    point(run.id, true);
    refresh(run.id);
    await rejoin(run);
  } catch (error) {
    tell(error.message);
  }
}

// The report of where the proposals of a run agree that is over; its price was told.
export async function askReport(run) {
  tell(t("told.report"));
  try {
    const made = await (await call(`/api/runs/${encodeURIComponent(run.id)}/agreement`, { method: "POST", body: {} })).json();
    run.agreement = made.agreement;
    run.cost = made.cost_usd;
    run.touch();
    tell(t("told.report_there"));
    await refresh(run.id);
  } catch (error) {
    tell(error.message);
  }
}

// How often which mixture was preferred to which model, in answers without names.
export const preferences = signal([]);

async function countPreferences() {
  preferences.value = (await (await call("/api/choices")).json()).counts;
}

export async function choosePreferred(one, preferred) {
  one.blind.value = { ...one.blind.value, choice: preferred };
  if (!setup.value?.runs) return;
  try {
    const body = { run: one.run.id, beside: one.alone.id, choice: preferred };
    preferences.value = (await (await call("/api/choices", { method: "POST", body })).json()).counts;
  } catch (error) {
    tell(error.message);
  }
}

export async function again(one) {
  if (busy.value) return;
  await askAt(one, one.run.question);
}

// What was said up to a turn, its question at the end.
export function conversationBefore(one) {
  const all = turns.value;
  return [...messages("", { before: all.slice(0, all.indexOf(one)) }), ...one.earlier, { role: "user", content: contentOf(one.run.question, one.run.pictures) }];
}

// The same question to one model alone, beside an answer that is there.
export async function compare(one, model) {
  if (busy.value) return;
  const alone = new Run(one.run.question, model);
  const all = turns.value;
  const history = conversationBefore(one);
  const mine = (stopping = new AbortController());
  one.open.value = false;
  turns.value = all.map((other) => (other === one ? { ...one, alone } : other));
  const place = one.run.recorded ? `?beside=${one.run.id}` : "";
  await follow(alone, { model, messages: history, mixtura: {} }, mine, { place });
  if (stopping === mine) stopping = null;
  say(t("told.alone", { model: short(model), time: seconds(alone.seconds) }));
  list();
}

// ---- past conversations

export const runs = signal({ rows: [], more: false, loading: false, error: null });
export const search = signal("");
let listing = 0;

export async function list(more = false) {
  if (!setup.value?.runs) return;
  listing += 1;
  const mine = listing;
  const before = more ? runs.value.rows.at(-1)?.cursor : null;
  const query = new URLSearchParams({ limit: "40" });
  if (before) query.set("before", before);
  if (search.value.trim()) query.set("q", search.value.trim());
  runs.value = { ...runs.value, loading: true };
  try {
    const found = await (await call(`/api/conversations?${query}`)).json();
    if (mine !== listing) return;
    runs.value = { rows: more ? [...runs.value.rows, ...found.conversations] : found.conversations, more: found.more, loading: false, error: null };
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
    conversation.value = null;
    dialog.value = null;
  });
  if (step && location.hash) history.pushState(null, "", location.pathname);
}

// The turn that is to be seen; the page scrolls to it once.
export const sought = signal(null);

// The conversation of a run, in the newest branch that goes through it.
export async function reopen(id, exact = false) {
  const shown = turns.value.find((one) => one.run.id === id);
  if (shown && !exact) {
    sought.value = shown.number;
    return;
  }
  leave();
  opening.value = true;
  const left = leaving.signal;
  try {
    const found = await fetchConversation(id);
    const named = found.turns.find((row) => row.id === id)?.beside ?? (found.turns.some((row) => row.id === id) ? id : found.turns.at(-1).id);
    const branch = branchOf(found.turns, newestAfter(found.turns, named));
    const last = branch.at(-1) ?? found.turns.at(-1);
    const record = await (await call(`/api/runs/${encodeURIComponent(last.id)}`)).json();
    if (left.aborted) return;
    const run = Run.from(record);
    run.pattern ??= unusual(setup.value?.mixtures.find((one) => one.name === run.model)?.pattern);
    const before = run.messages.length && !branch[0]?.before ? [] : (branch[0]?.before ?? run.messages);
    const rows = branch.length ? branch : [last];
    const made = rows.map((row, i) => {
      const mine = row.id === last.id ? run : Run.glimpsed(row);
      const beside = besideOf(found.turns, row.id);
      const earlier = i ? [] : before.map(({ role, ...rest }) => ({ role, content: said(rest) }));
      return turn(mine, earlier, beside ? Run.glimpsed(beside) : null, mine === run && !beside, blindnessOf(beside));
    });
    batch(() => {
      dialog.value = null;
      conversation.value = found;
      turns.value = made;
      sought.value = named === last.id ? null : (made.find((one) => one.run.id === named)?.number ?? null);
      chooseAgain(run);
    });
    point(exact ? last.id : id, true);
    say(t("runs.opened", { title: found.title }));
    if (made.some((one) => one.blind.value?.choice)) await countPreferences();
    const underWay = made.flatMap((one) => [one.run, one.alone]).filter((one) => one?.state === "running");
    if (underWay.length) await rejoin(...underWay);
  } catch (error) {
    tell(error.status === 404 ? t("runs.gone") : error.message);
    point(null);
  } finally {
    opening.value = false;
  }
}

// A turn's drafts and numbers, where only a glance of it was here.
export async function bring(run) {
  if (!run.glimpsed) return;
  try {
    run.fill(await (await call(`/api/runs/${encodeURIComponent(run.id)}`)).json());
  } catch (error) {
    tell(error.status === 404 ? t("runs.gone") : error.message);
  }
}

// Two answers that had no names have none when they are shown again, and stand in the same order.
function blindnessOf(beside) {
  return beside?.blind ? { swapped: beside.blind === "model", choice: beside.choice ?? null } : null;
}

// Runs that go on at the server, begun on this page or in another tab.
async function rejoin(...underWay) {
  const [mine, left] = [(stopping = new AbortController()), leaving.signal];
  await Promise.all(underWay.map((run) => rejoinOne(run, mine, left)));
  if (stopping === mine) stopping = null;
}

async function rejoinOne(run, mine, left) {
  run.calls = [];
  run.glimpsed = false;
  run.state = "starting";
  run.seconds = null;
  run.recorded = false;
  run.touch();
  opening.value = false;
  const heard = narrator(run);
  const live = await attach(run, { key: key.value, signal: mine.signal, left, heard });
  if (left.aborted) return;
  if (live) heard(null);
  const learned = await remember(run);
  await refresh(run.id, left);
  if (!live && !learned) run.fail(t("runs.over_api"), true);
  listAll();
}

// A whole conversation, with all its runs.
export async function remove(id) {
  try {
    await forget(id);
    runs.value = { ...runs.value, rows: runs.value.rows.filter((row) => row.id !== id) };
    if (conversation.value?.id === id) fresh();
    tell(t("runs.deleted"));
    tabs?.postMessage("changed");
  } catch (error) {
    tell(error.message);
  }
}

// One file that shows the run anywhere.
export const share = (run) => download(`/api/runs/${encodeURIComponent(run.id)}/html`, `mixtura-${run.id}.html`, t("turn.shared"));

// A conversation as the server keeps it: its turns at a glance, its branches, its name.
import { call } from "./access.mjs";
import { computed, signal, tell } from "./base.mjs";
import { t } from "./language.mjs";

// The one that is shown: { id, title, renamed, cost_usd, turns }; null before its first question.
export const conversation = signal(null);
export const cost = computed(() => conversation.value?.cost_usd);

const path = (id, more = "") => `/api/conversations/${encodeURIComponent(id)}${more}`;

export async function fetchConversation(id) {
  return (await call(path(id))).json();
}

let begun = 0;
let shown = 0;

// Show what the server knows of it by now. An answer that comes after a newer one's is dropped.
export async function updateConversation(id, wanted = () => true) {
  begun += 1;
  const mine = begun;
  const found = await fetchConversation(id);
  if (mine < shown || !wanted()) return;
  shown = mine;
  conversation.value = found;
}

const main = (turns) => turns.filter((turn) => !turn.beside);

// The turns that lead to the run *id*, the first one first; [] where it is none of them.
export function branchOf(turns, id) {
  const named = new Map(main(turns).map((turn) => [turn.id, turn]));
  const branch = [];
  for (let at = named.get(id); at && !branch.includes(at); at = named.get(at.previous)) branch.unshift(at);
  return branch;
}

// The newest run that the run *id* leads to: itself where nothing came after it.
export function newestAfter(turns, id) {
  const led = new Set([id]);
  let newest = id;
  for (const turn of main(turns)) {
    if (!led.has(turn.previous)) continue;
    led.add(turn.id);
    newest = turn.id;
  }
  return newest;
}

// Runs at the same place as the run *id*: other answers, other questions. The first one first.
export function siblingsOf(turns, id) {
  const mine = turns.find((turn) => turn.id === id);
  return mine ? main(turns).filter((turn) => turn.previous === mine.previous) : [];
}

// The newest run that stands beside the run *id* for comparison.
export const besideOf = (turns, id) => turns.findLast((turn) => turn.beside === id) ?? null;

export async function rename(id, title) {
  await call(path(id), { method: "PATCH", body: { title } });
  if (conversation.value?.id === id) await updateConversation(id);
}

export async function forget(id) {
  await call(path(id), { method: "DELETE" });
}

// A file from the server, under a name.
export async function download(from, name, said) {
  try {
    const response = await call(from);
    const url = URL.createObjectURL(await response.blob());
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    tell(said);
  } catch (error) {
    tell(error.message);
  }
}

export const saveMarkdown = (id, leaf) =>
  download(path(id, `/markdown?run=${encodeURIComponent(leaf ?? "")}`), `mixtura-${id}.md`, t("talk.saved_markdown"));

export const saveJson = (id) => download(path(id, "/json"), `mixtura-${id}.json`, t("talk.saved_json"));

// A conversation on the page: its head, its branches, questions that are edited, answers anew.
import { filesIn } from "./attachments.mjs";
import { dialog, html, Icon, signal, useEffect, useRef } from "./base.mjs";
import { conversation, cost, rename, saveJson, saveMarkdown, siblingsOf } from "./conversation.mjs";
import { dollars } from "./format.mjs";
import { t } from "./language.mjs";
import { Sheet } from "./call_details.mjs";
import { askAt, busy, list, reopen, setup, turns } from "./page_state.mjs";

// ---- the head

export function TalkHead() {
  const talk = conversation.value;
  if (!talk || !turns.value.length) return null;
  const many = turns.value.length;
  const { names, rest } = filesIn(turns.value[0].run.question);
  const asked = [...names.map((name) => `[${name}]`), rest].join(" "); // as the server names it
  return html`<header class="talk">
    <h1 dir="auto" class=${many === 1 && talk.title === asked ? "sr" : ""} title=${talk.title}>${talk.title || t("no_words")}</h1>
    <p class="dim">${t("turns", { n: many })} · ${cost.value === null ? t("talk.cost_unknown") : t("talk.so_far", { cost: dollars(cost.value) })}</p>
    <span class="grow"></span>
    <button type="button" class="quiet icon-only" aria-label=${t("talk.rename")} title=${t("rename")} onClick=${() => (dialog.value = { kind: "rename", talk })}><${Icon} name="edit" /></button>
    <button type="button" class="quiet icon-only" aria-label=${t("talk.export")} title=${t("export")} onClick=${() => (dialog.value = { kind: "export", talk })}><${Icon} name="share" /></button>
    <button type="button" class="quiet icon-only" aria-label=${t("talk.delete")} title=${t("delete")} disabled=${busy.value} onClick=${() => (dialog.value = { kind: "delete", row: { ...talk, turns: main(talk).length } })}><${Icon} name="trash" /></button>
  </header>`;
}

const main = (talk) => talk.turns.filter((turn) => !turn.beside);
const close = (event) => event.currentTarget.closest("dialog").close();

export function Rename({ talk }) {
  const box = useRef(null);
  useEffect(() => box.current.select(), []);
  const save = async (event) => {
    event.preventDefault();
    const title = box.current.value.trim();
    close(event);
    await rename(talk.id, title);
    list();
  };
  return html`<${Sheet} title=${t("talk.rename")} kind="small" close=${() => (dialog.value = null)}>
    <h2>${t("talk.rename")}</h2>
    <form onSubmit=${save}>
      <label class="field"><span>${t("talk.title")}</span><input type="text" ref=${box} dir="auto" maxlength="200" value=${talk.title} autofocus /></label>
      <div class="actions"><span class="grow"></span><button type="button" class="quiet" onClick=${close}>${t("cancel")}</button><button type="submit" class="button primary">${t("save")}</button></div>
    </form>
  <//>`;
}

export function Export({ talk }) {
  const save = (event, way) => {
    close(event);
    way();
  };
  return html`<${Sheet} title=${t("talk.export")} kind="small" close=${() => (dialog.value = null)}>
    <h2>${t("talk.export")}</h2>
    <p class="dim">${t("talk.export_told")}</p>
    <div class="actions"><button type="button" class="quiet" onClick=${close}>${t("cancel")}</button><span class="grow"></span>
      <button type="button" class="button" onClick=${(event) => save(event, () => saveJson(talk.id))}>JSON</button>
      <button type="button" class="button primary" autofocus onClick=${(event) => save(event, () => saveMarkdown(talk.id, turns.value.at(-1)?.run.id))}>Markdown</button></div>
  <//>`;
}

// ---- a turn: other versions of it, its question edited, its answer made anew

const editing = signal(null); // { number, text } of the turn whose question is edited

export function Versions({ one }) {
  const talk = conversation.value;
  one.run.tick.value;
  if (!talk || one.run.live) return null;
  const all = siblingsOf(talk.turns, one.run.id);
  const at = all.findIndex((turn) => turn.id === one.run.id);
  if (all.length < 2 || at < 0) return null;
  const step = (by) => html`<button type="button" class="quiet icon-only ${by < 0 ? "back" : "on"}" aria-label=${t(by < 0 ? "talk.before" : "talk.next")} disabled=${busy.value || !all[at + by]} onClick=${() => reopen(all[at + by].id, true)}><${Icon} name="chevron" /></button>`;
  return html`<span class="versions" role="group" aria-label=${t("talk.version", { at: at + 1, n: all.length })}>${step(-1)}<span>${t("talk.at", { at: at + 1, n: all.length })}</span>${step(1)}</span>`;
}

export function QuestionTools({ one }) {
  one.run.tick.value;
  if (one.run.live || editing.value?.number === one.number) return null;
  return html`<p class="qtools"><${Versions} one=${one} />
    <button type="button" class="quiet small" disabled=${busy.value} onClick=${() => (editing.value = { number: one.number, text: one.run.question })}><${Icon} name="edit" /><span>${t("edit")}</span></button>
    ${one.run.answer && html`<button type="button" class="quiet small" disabled=${busy.value} title=${t("talk.regenerate_title")} onClick=${() => askAt(one, one.run.question)}><${Icon} name="again" /><span>${t("talk.regenerate")}</span></button>`}
  </p>`;
}

// The form in place of the question while it is edited; null otherwise.
export function EditedQuestion({ one }) {
  const box = useRef(null);
  const mine = editing.value?.number === one.number ? editing.value : null;
  useEffect(() => {
    if (mine) box.current?.focus();
  }, [Boolean(mine)]);
  if (!mine) return null;
  const leave = () => (editing.value = null);
  const send = (event) => {
    event.preventDefault();
    const text = box.current.value;
    if (!text.trim()) return;
    leave();
    askAt(one, text);
  };
  const keys = (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      leave();
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
  };
  const later = turns.value.length - 1 - turns.value.indexOf(one);
  return html`<form class="edited" onSubmit=${send}>
    <h2 class="sr">${t("talk.edited")}</h2>
    <label class="sr" for=${`edit-${one.number}`}>${t("talk.edited_label")}</label>
    <textarea id=${`edit-${one.number}`} ref=${box} dir="auto" rows=${Math.min(12, mine.text.split("\n").length + 1)} onKeyDown=${keys}>${mine.text}</textarea>
    <div class="actions"><span class="dim">${t(later > 0 ? "talk.branch_later" : "talk.branch")}</span><span class="grow"></span>
      <button type="button" class="quiet" onClick=${leave}>${t("cancel")}</button><button type="submit" class="button primary" disabled=${busy.value}>${t("ask")}</button></div>
  </form>`;
}

export const isEdited = (one) => editing.value?.number === one.number;
export const isKept = () => Boolean(setup.value?.runs);

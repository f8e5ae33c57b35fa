// The answer: rendered, its sentences marked by whose they are, its sources beside it.
import { copy, dialog, html, Icon, signal, useRef, useMemo } from "./base.mjs";
import { dollars, ending, number, percent, seconds, short, times } from "./format.mjs";
import { t } from "./language.mjs";
import { Numbers, seat } from "./cards.mjs";
import { mark } from "./sentence_sources.mjs";
import { Prose } from "./markdown.mjs";
import { shares } from "./run.mjs";

export const marking = signal(true);
const hint = signal(null);
addEventListener("scroll", () => (hint.value = null), { capture: true, passive: true });

function marker(run) {
  const sources = run.sources;
  return (root) => {
    if (root.marked || !run.sentences) return undefined;
    root.marked = true;
    return mark(root, run.sentences, (sentence, _, last) => {
      const best = sources[sentence.from[0].call];
      const element = document.createElement("mark");
      element.className = `from c${best.index % 8}`;
      if (last) {
        const note = document.createElement("sup");
        note.className = "no";
        note.textContent = sentence.from.slice(0, 3).map((from) => sources[from.call].index + 1).join(" ");
        element.append(note);
      }
      const told = sentence.from.map((from) => [sources[from.call], from.score]);
      element.addEventListener("pointerenter", (event) => {
        if (!root.closest(".marking") || event.pointerType !== "mouse") return;
        const box = element.getBoundingClientRect();
        hint.value = { told, x: Math.min(box.left, innerWidth - 260), y: box.top };
      });
      element.addEventListener("pointerleave", () => (hint.value = null));
      element.addEventListener("click", () => {
        if (root.closest(".marking") && !getSelection().toString()) dialog.value = { kind: "call", run, call: best };
      });
      return element;
    });
  };
}

export function Hint() {
  const shown = hint.value;
  if (!shown) return null;
  const place = { left: `${Math.max(8, shown.x)}px`, top: `${shown.y}px` };
  return html`<div class="hint" style=${place} aria-hidden="true">
    ${shown.told.map(([call, score]) => html`<p><i class="swatch c${call.index % 8}"></i>${short(call.model)}<b>${percent(score)}</b></p>`)}
  </div>`;
}

export function Answer({ run, actions = null, title = null, against = null }) {
  run.tick.value;
  const call = run.answerCall;
  call?.tick.value;
  const box = useRef(null);
  const after = useMemo(() => (run.sentences ? marker(run) : undefined), [run.sentences]);
  const text = call?.text ?? "";
  const standIn = run.standIn;
  const author = standIn ?? call;
  const { failed: lost, notes } = run.shortfalls;
  const failed = run.state === "failed";
  const { does, writes } = ending(run.pattern);
  const who = t(writes ? "answer.writer" : "answer.one_that", { does });
  const marked = marking.value && run.sentences && run.sources.length > 0;
  return html`<div ref=${box} class="answer panel ${run.live ? "live" : ""} ${call?.state ?? ""} ${marked ? "marking" : ""}" role="group" aria-label=${t(title ? "answer.label_of" : "answer.label", { title })} aria-busy=${run.live}>
    <header>
      <button type="button" class="who" disabled=${!call || call.state === "waiting" || run.glimpsed} onClick=${() => (dialog.value = { kind: "call", run, call: author })} aria-label=${t("answer.details", { who: standIn ? seat(standIn) : who, model: author?.model ?? "" })}>
        <span class="seat ink" aria-hidden="true">${standIn ? html`<i class="swatch c${standIn.index % 8}"></i>` : run.proposers.length ? "⊕" : ""}</span>
        <span class="model">${author ? author.model : "…"}</span>
        <span class="role" aria-hidden="true">${title ?? (standIn ? t("answer.stands_in") : run.proposers.length ? does : t("answer.alone"))}</span>
      </button>
      ${author && !run.glimpsed && html`<${Numbers} call=${author} run=${run} />`}
      <span class="grow"></span>
      ${actions}
    </header>
    ${failed && html`<p class="problem" role="alert"><${Icon} name="warn" /><span><b>${t("answer.none")}</b> <span lang=${run.errorIsOurs ? undefined : "en"}>${run.error}</span></span></p>`}
    ${run.state === "stopped" && html`<p class="note">${t(text ? "answer.stopped_text" : "answer.stopped")}</p>`}
    ${standIn && html`<p class="problem"><${Icon} name="warn" /><span><b>${t("answer.no_aggregator")}</b> ${t("answer.draft_of", { model: standIn.model })} ${short(call.model)}: <span lang="en">${call.error}</span></span></p>`}
    ${run.leftOut.length > 0 && html`<details class="leftout"><summary>${[lost && t("answer.calls_failed", { n: lost }), notes && t("notes", { n: notes })].filter(Boolean).join(", ")}</summary><ul>${run.leftOut.map((line) => html`<li lang="en">${line}</li>`)}</ul></details>`}
    ${against && html`<${Versus} run=${against} alone=${run} />`}
    ${(text || run.live) && html`<div class="answerbody ${marked ? "" : "alone"}">
      ${text
        ? html`<${Prose} text=${text} live=${run.live} after=${after} class="big" />`
        : run.live && html`<${Waiting} run=${run} />`}
      ${marked && html`<${Sources} run=${run} />`}
    </div>`}
  </div>`;
}

function Waiting({ run }) {
  run.tick.value;
  for (const [call] of run.all()) call.tick.value;
  const rows = run.layers;
  const at = rows.findIndex((row) => row.some((call) => !call.over));
  if (run.state === "starting") return html`<p class="pending">${t("answer.asking")}</p>`;
  if (at < 0) return html`<p class="pending"><span class="shimmer">${t(rows.length ? "answer.reading" : "answer.waiting")}</span></p>`;
  const there = rows[at].filter((call) => call.state === "done").length;
  const failed = rows[at].filter((call) => call.state === "failed").length;
  return html`<p class="pending">${t("answer.waits", { layer: at + 1, there, n: rows[at].length - failed })}</p>`;
}

function Sources({ run }) {
  const { each, none } = shares(run);
  const sources = run.sources;
  return html`<div class="sources" role="group" aria-label=${t("sources.title")}>
    <h3>${t("sources.title")}</h3>
    <div class="stack" aria-hidden="true">${each.map((part, i) => part > 0 && html`<i class="c${sources[i].index % 8}" style=${{ flexGrow: part }}></i>`)}<i class="none" style=${{ flexGrow: Math.max(none, 0.0001) }}></i></div>
    <ul>
      ${sources.map((call, i) => html`<li><button type="button" class="row" onClick=${() => (dialog.value = { kind: "call", run, call })}><i class="swatch c${call.index % 8}"></i><span class="no">${call.index + 1}</span><span class="model" title=${call.model}>${short(call.model)}</span><b>${percent(each[i])}</b></button></li>`)}
      <li class="row"><i class="swatch none"></i><span class="no"></span><span class="model">${t("sources.own")}</span><b>${percent(none)}</b></li>
    </ul>
    <p class="dim">${t("sources.how")}</p>
  </div>`;
}

// The numbers of the whole run in one line.
export function Totals({ run }) {
  run.tick.value;
  if (run.live) return null;
  const calls = run.askedCalls ?? [...run.all()].filter(([call]) => call.started !== null && !call.calls.length).length;
  const tokens = run.usage?.total_tokens ?? [...run.all()].reduce((sum, [call]) => sum + (call.usage?.total_tokens ?? 0), 0);
  return html`<dl class="totals">
    <div><dt>${t("totals.time")}</dt><dd>${seconds(run.seconds)}</dd></div>
    <div><dt>${t("totals.cost")}</dt><dd>${dollars(run.cost)}</dd></div>
    <div><dt>${t("totals.calls")}</dt><dd>${number(calls)}</dd></div>
    <div><dt>${t("totals.tokens")}</dt><dd>${number(tokens)}</dd></div>
  </dl>`;
}

export function CopyButton({ run }) {
  if (run.live) return null;
  return html`<button type="button" class="quiet small" aria-label=${t("copy")} title=${t("answer.copy_title")} disabled=${!run.answer} onClick=${() => copy(run.answer, t("answer.copied"))}><${Icon} name="copy" /><span>${t("copy")}</span></button>`;
}

export function MarksButton({ run }) {
  if (!run.sentences || !run.sources.length) return null;
  return html`<button type="button" class="quiet small toggle" aria-label=${t("sources.button")} title=${t("sources.button_title")} aria-pressed=${marking.value} onClick=${() => (marking.value = !marking.value)}><${Icon} name="marks" /><span>${t("sources.button")}</span></button>`;
}

// What one model alone took, against the mixture beside it.
function Versus({ run, alone }) {
  run.tick.value;
  alone.tick.value;
  if (run.live || alone.live || !run.seconds || !alone.seconds || !alone.answer) return null;
  const of = (mine, other, [less, more]) => (mine > other ? html`<b class="more">${t(more, { times: times(mine / other) })}</b>` : html`<b>${t(less, { times: times(other / mine) })}</b>`);
  const money = run.cost && alone.cost;
  return html`<dl class="versus">
    <div><dt>${t("totals.time")}</dt><dd>${seconds(alone.seconds)}<span>${t("versus.mixture", { value: seconds(run.seconds) })}</span>${of(alone.seconds, run.seconds, ["versus.quicker", "versus.slower"])}</dd></div>
    <div><dt>${t("totals.cost")}</dt><dd>${dollars(alone.cost)}<span>${t("versus.mixture", { value: dollars(run.cost) })}</span>${money ? of(alone.cost, run.cost, ["versus.cheaper", "versus.dearer"]) : null}</dd></div>
  </dl>`;
}

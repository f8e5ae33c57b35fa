// The answer: rendered, its sentences marked by whose they are, its sources beside it.
import { copy, dialog, html, Icon, signal, useRef, useMemo } from "./base.mjs";
import { count, dollars, ending, number, percent, seconds, short, times } from "./format.mjs";
import { Numbers, seat } from "./cards.mjs";
import { mark } from "./marks.mjs";
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
  const { does } = ending(run.pattern);
  const who = does === "aggregator" ? "The writer" : `The one that ${does}`;
  const marked = marking.value && run.sentences && run.sources.length > 0;
  return html`<div ref=${box} class="answer panel ${run.live ? "live" : ""} ${call?.state ?? ""} ${marked ? "marking" : ""}" role="group" aria-label=${title ? `Answer, ${title}` : "Answer"} aria-busy=${run.live}>
    <header>
      <button type="button" class="who" disabled=${!call || call.state === "waiting" || run.glimpsed} onClick=${() => (dialog.value = { kind: "call", run, call: author })} aria-label=${`${standIn ? seat(standIn) : who}, ${author?.model ?? ""}: open its details`}>
        <span class="seat ink" aria-hidden="true">${standIn ? html`<i class="swatch c${standIn.index % 8}"></i>` : run.proposers.length ? "⊕" : ""}</span>
        <span class="model">${author ? author.model : "…"}</span>
        <span class="role" aria-hidden="true">${title ?? (standIn ? "its draft stands in" : run.proposers.length ? does : "alone")}</span>
      </button>
      ${author && !run.glimpsed && html`<${Numbers} call=${author} run=${run} />`}
      <span class="grow"></span>
      ${actions}
    </header>
    ${failed && html`<p class="problem" role="alert"><${Icon} name="warn" /><span><b>No answer.</b> ${run.error}</span></p>`}
    ${run.state === "stopped" && html`<p class="note">Stopped${text ? ": this is what there was" : ""}.</p>`}
    ${standIn && html`<p class="problem"><${Icon} name="warn" /><span><b>No aggregator answered.</b> This is the draft of ${standIn.model}, the closest to the others. ${short(call.model)}: ${call.error}</span></p>`}
    ${run.leftOut.length > 0 && html`<details class="leftout"><summary>${[lost && `${count(lost, "call")} failed`, notes && count(notes, "note")].filter(Boolean).join(", ")}</summary><ul>${run.leftOut.map((line) => html`<li>${line}</li>`)}</ul></details>`}
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
  if (run.state === "starting") return html`<p class="pending">Asking…</p>`;
  if (at < 0) return html`<p class="pending"><span class="shimmer">${rows.length ? "Reading the drafts" : "Waiting for its first word"}</span></p>`;
  const there = rows[at].filter((call) => call.over).length;
  return html`<p class="pending">Waits for layer ${at + 1}: ${there} of ${rows[at].length} drafts are there</p>`;
}

function Sources({ run }) {
  const { each, none } = shares(run);
  const sources = run.sources;
  return html`<div class="sources" role="group" aria-label="Where its sentences come from">
    <h3>Where its sentences come from</h3>
    <div class="stack" aria-hidden="true">${each.map((part, i) => part > 0 && html`<i class="c${sources[i].index % 8}" style=${{ flexGrow: part }}></i>`)}<i class="none" style=${{ flexGrow: Math.max(none, 0.0001) }}></i></div>
    <ul>
      ${sources.map((call, i) => html`<li><button type="button" class="row" onClick=${() => (dialog.value = { kind: "call", run, call })}><i class="swatch c${call.index % 8}"></i><span class="no">${call.index + 1}</span><span class="model" title=${call.model}>${short(call.model)}</span><b>${percent(each[i])}</b></button></li>`)}
      <li class="row"><i class="swatch none"></i><span class="no"></span><span class="model">its own words</span><b>${percent(none)}</b></li>
    </ul>
    <p class="dim">By the overlap of words with the last layer's drafts.</p>
  </div>`;
}

// The numbers of the whole run in one line.
export function Totals({ run }) {
  run.tick.value;
  if (run.live) return null;
  const calls = run.askedCalls ?? [...run.all()].filter(([call]) => call.started !== null && !call.calls.length).length;
  const tokens = run.usage?.total_tokens ?? [...run.all()].reduce((sum, [call]) => sum + (call.usage?.total_tokens ?? 0), 0);
  return html`<dl class="totals">
    <div><dt>Time</dt><dd>${seconds(run.seconds)}</dd></div>
    <div><dt>Cost</dt><dd>${dollars(run.cost)}</dd></div>
    <div><dt>Calls</dt><dd>${number(calls)}</dd></div>
    <div><dt>Tokens</dt><dd>${number(tokens)}</dd></div>
  </dl>`;
}

export function CopyButton({ run }) {
  if (run.live) return null;
  return html`<button type="button" class="quiet small" aria-label="Copy" title="Copy the answer" disabled=${!run.answer} onClick=${() => copy(run.answer, "Answer copied")}><${Icon} name="copy" /><span>Copy</span></button>`;
}

export function MarksButton({ run }) {
  if (!run.sentences || !run.sources.length) return null;
  return html`<button type="button" class="quiet small toggle" aria-label="Sources" title="Mark whose sentence is whose" aria-pressed=${marking.value} onClick=${() => (marking.value = !marking.value)}><${Icon} name="marks" /><span>Sources</span></button>`;
}

// What one model alone took, against the mixture beside it.
function Versus({ run, alone }) {
  run.tick.value;
  alone.tick.value;
  if (run.live || alone.live || !run.seconds || !alone.seconds || !alone.answer) return null;
  const of = (mine, other, [less, more]) => (mine > other ? html`<b class="more">${times(mine / other)} ${more}</b>` : html`<b>${times(other / mine)} ${less}</b>`);
  const money = run.cost && alone.cost;
  return html`<dl class="versus">
    <div><dt>Time</dt><dd>${seconds(alone.seconds)}<span>mixture ${seconds(run.seconds)}</span>${of(alone.seconds, run.seconds, ["quicker", "slower"])}</dd></div>
    <div><dt>Cost</dt><dd>${dollars(alone.cost)}<span>mixture ${dollars(run.cost)}</span>${money ? of(alone.cost, run.cost, ["cheaper", "dearer"]) : null}</dd></div>
  </dl>`;
}

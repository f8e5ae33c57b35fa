// Two answers without names: which is better is said first, whose they are is shown then.
import { dialog, html, Icon, signal, useEffect } from "./base.mjs";
import { call } from "./access.mjs";
import { download } from "./conversation.mjs";
import { count, short } from "./format.mjs";
import { Prose } from "./markdown.mjs";
import { Sheet } from "./details.mjs";
import { choosePreferred, preferences } from "./state.mjs";

export const isHidden = (one) => Boolean(one.blind?.value && !one.blind.value.choice);

// Both answers are shown once both are there: who is quicker would tell who it is.
export function Blind({ one }) {
  const { run, alone } = one;
  run.tick.value;
  alone.tick.value;
  const live = run.live || alone.live;
  const pair = one.blind.value.swapped ? [alone, run] : [run, alone];
  const broken = !live && !(run.answer && alone.answer);
  useEffect(() => {
    if (broken) one.blind.value = { ...one.blind.value, choice: "none" };
  }, [broken]);
  if (live || broken) return html`<section class="panel blindwait" aria-busy="true"><p class="pending"><span class="shimmer">Two answers are written; they are shown without names once both are there</span></p></section>`;
  const say = (which) => choosePreferred(one, which === null ? "tie" : which === run ? "mixture" : "model");
  return html`<div class="beside blind">
    ${pair.map((which, i) => html`<div class="answer panel" role="group" aria-label=${`Answer ${i + 1}`}>
      <header><b>Answer ${i + 1}</b></header><div class="answerbody alone"><${Prose} text=${which.answer} class="big" /></div></div>`)}
    <p class="verdict" role="group" aria-label="Which answer is better?">
      <span>Which is better?</span>
      ${pair.map((which, i) => html`<button type="button" class="button" onClick=${() => say(which)}>Answer ${i + 1}</button>`)}
      <button type="button" class="button" onClick=${() => say(null)}>Neither</button>
    </p>
  </div>`;
}

const whole = (part) => Math.round(part * 100);

export function tallied({ mixture, model, won, lost, tied, low, high }) {
  const of = won + lost;
  const ties = tied ? `; ${count(tied, "tie")}` : "";
  if (!of) return `${mixture} and ${short(model)}: ${count(tied, "tie")}`;
  return `${mixture} won ${won} of ${of} against ${short(model)}, 95 % ${whole(low)}–${whole(high)}${ties}`;
}

export function Verdict({ one }) {
  const choice = one.blind?.value?.choice;
  if (!choice || choice === "none") return null;
  const row = preferences.value.find((other) => other.model === one.alone.model && other.mixture.startsWith(one.run.model));
  const said = { mixture: "You preferred the mixture.", model: `You preferred ${short(one.alone.model)}.`, tie: "Neither was better for you." }[choice];
  return html`<p class="note verdict" role="status"><span><b>${said}</b> ${row ? `${tallied(row)}.` : ""}</span>
    ${row && html`<button type="button" class="quiet small" onClick=${() => (dialog.value = { kind: "choices" })}>All choices</button>`}</p>`;
}

export function Choices() {
  const save = (row, part) => {
    const query = new URLSearchParams({ mixture: row.mixture, model: row.model });
    return download(`/api/choices/${part}?${query}`, `${part}.jsonl`, `Saved as ${part}.jsonl`);
  };
  return html`<${Sheet} title="All choices" kind="small" close=${() => (dialog.value = null)}>
    <h2>All choices</h2>
    <ul class="choices">${preferences.value.map((row) => html`<li><p>${tallied(row)}</p><p class="files">${["labels", "against", "outputs"].map((part) => html`<button type="button" class="quiet small" onClick=${() => save(row, part)}><${Icon} name="share" /><span>${part}.jsonl</span></button>`)}</p></li>`)}</ul>
    <p class="dim small">The share of decided choices with Wilson's 95 % interval. The files are for <code>mixtura eval alpaca-eval --labels labels.jsonl --against against.jsonl --outputs outputs.jsonl</code>.</p>
    <div class="actions"><span class="grow"></span><button type="button" class="button primary" autofocus onClick=${(event) => event.currentTarget.closest("dialog").close()}>Done</button></div>
  <//>`;
}

// Two answers without names: which is better is said first, whose they are is shown then.
import { dialog, html, Icon, signal, useEffect, useRef } from "./base.mjs";
import { call } from "./access.mjs";
import { download } from "./conversation.mjs";
import { percent, short } from "./format.mjs";
import { pieces, t } from "./language.mjs";
import { Prose } from "./markdown.mjs";
import { Sheet } from "./call_details.mjs";
import { choosePreferred, preferences } from "./page_state.mjs";

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
  if (live || broken) return html`<section class="panel blindwait" aria-busy="true"><p class="pending"><span class="shimmer">${t("blind.wait")}</span></p></section>`;
  const say = (which) => choosePreferred(one, which === null ? "tie" : which === run ? "mixture" : "model");
  return html`<div class="beside blind">
    ${pair.map((which, i) => html`<div class="answer panel" role="group" aria-label=${t("blind.answer", { n: i + 1 })}>
      <header><b>${t("blind.answer", { n: i + 1 })}</b></header><div class="answerbody alone"><${Prose} text=${which.answer} class="big" /></div></div>`)}
    <p class="verdict" role="group" aria-label=${t("blind.which_label")}>
      <span>${t("blind.which")}</span>
      ${pair.map((which, i) => html`<button type="button" class="button" onClick=${() => say(which)}>${t("blind.answer", { n: i + 1 })}</button>`)}
      <button type="button" class="button" onClick=${() => say(null)}>${t("blind.neither")}</button>
    </p>
  </div>`;
}

const whole = (part) => Math.round(part * 100);

export function tallied({ mixture, model, won, lost, tied, low, high }) {
  const of = won + lost;
  const ties = t("ties", { n: tied });
  if (!of) return t("blind.only_ties", { mixture, model: short(model), ties });
  const count = t("blind.count", { mixture, won, n: of, model: short(model), level: percent(0.95), low: whole(low), high: whole(high) });
  return tied ? t("blind.count_ties", { count, ties }) : count;
}

export function Verdict({ one }) {
  const choice = one.blind?.value?.choice;
  const box = useRef(null);
  useEffect(() => box.current?.scrollIntoView({ block: "nearest" }), [choice]);
  if (!choice || choice === "none") return null;
  const row = preferences.value.find((other) => other.model === one.alone.model && other.mixture.startsWith(one.run.model));
  const said = t(`blind.chose_${choice}`, { model: short(one.alone.model) });
  return html`<p ref=${box} class="note verdict" role="status"><span><b>${said}</b> ${row ? `${tallied(row)}.` : ""}</span>
    ${row && html`<button type="button" class="quiet small" onClick=${() => (dialog.value = { kind: "choices" })}>${t("blind.all")}</button>`}</p>`;
}

export function Choices() {
  const save = (row, part) => {
    const query = new URLSearchParams({ mixture: row.mixture, model: row.model });
    return download(`/api/choices/${part}?${query}`, `${part}.jsonl`, t("blind.saved", { file: `${part}.jsonl` }));
  };
  return html`<${Sheet} title=${t("blind.all")} kind="small" close=${() => (dialog.value = null)}>
    <h2>${t("blind.all")}</h2>
    <ul class="choices">${preferences.value.map((row) => html`<li><p>${tallied(row)}</p><p class="files">${["labels", "against", "outputs"].map((part) => html`<button type="button" class="quiet small" onClick=${() => save(row, part)}><${Icon} name="share" /><span>${`${part}.jsonl`}</span></button>`)}</p></li>`)}</ul>
    <p class="dim small">${pieces("blind.how", { command: html`<code>mixtura eval alpaca-eval --labels labels.jsonl --against against.jsonl --outputs outputs.jsonl</code>` })}</p>
    <div class="actions"><span class="grow"></span><button type="button" class="button primary" autofocus onClick=${(event) => event.currentTarget.closest("dialog").close()}>${t("done")}</button></div>
  <//>`;
}

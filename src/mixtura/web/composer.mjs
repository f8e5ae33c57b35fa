// Where a question is written, and where the mixture that will answer it is put together.
import { AttachButton, Attached, useDrop } from "./attachments.mjs";
import { effect, html, Icon, say, signal, tell, useLayoutEffect, useRef } from "./base.mjs";
import { SetUp } from "./first_run.mjs";
import { ending, hindrance, most, short } from "./format.mjs";
import { t } from "./language.mjs";
import { ask, busy, choice, choose, draft, edited, mixture, pattern, plan, refusal, replan, setup, stop } from "./page_state.mjs";
import { Tuner } from "./team_editor.mjs";

export const tuning = signal(false);
export const pointed = signal(false); // somebody asked what cannot be asked, and is shown why

export function focusQuestion() {
  document.getElementById("question")?.focus();
}

export function Composer({ follow }) {
  const box = useRef(null);
  const text = draft.value;
  useLayoutEffect(() => {
    box.current.style.height = "auto";
    box.current.style.height = `${Math.min(box.current.scrollHeight, innerHeight * 0.35)}px`;
  }, [text]);
  const why = pointed.value && !tuning.value ? refusal.value : null;
  const needed = mixture.value?.needs?.[0];
  const send = () => {
    if (busy.value) {
      tell(t(draft.value.trim() ? "composer.busy_draft" : "composer.busy"));
      return;
    }
    if (!refusal.value || !draft.value.trim()) return void ask(draft.value);
    pointed.value = true;
    say(t("composer.refused", { why: refusal.value }));
    replan(); // it may be possible by now
  };
  const keys = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  };
  const { over, ...drops } = useDrop();
  return html`<form class="composer ${over ? "over" : ""}" ...${drops} onSubmit=${(event) => { event.preventDefault(); send(); }}>
    ${tuning.value && html`<${Tuner} close=${() => { tuning.value = false; focusQuestion(); }} />`}
    <${Attached} />
    <div class="compose">
      <label class="sr" for="question">${t("composer.question")}</label>
      <textarea id="question" dir="auto" ref=${box} rows="1" placeholder=${t(follow ? "composer.follow" : "composer.first")} value=${text}
        onInput=${(event) => (draft.value = event.target.value)} onKeyDown=${keys} aria-describedby=${why ? "plan refusal" : "plan"}></textarea>
      ${busy.value
        ? html`<button type="button" class="send stop" onClick=${stop} aria-label=${t("stop")}><${Icon} name="stop" /></button>`
        : html`<button type="submit" class="send" disabled=${!text.trim()} aria-label=${t("ask")}><${Icon} name="up" /></button>`}
    </div>
    ${why && html`<p id="refusal" class="problem" tabindex="0"><${Icon} name="warn" /><span>${why}</span>${needed && html`<${SetUp} wanted=${needed}>${t("enter_key")}<//>`}</p>`}
    <div class="below">
      <${Preset} />
      <button type="button" class="pick" aria-label=${t("composer.change_label")} aria-expanded=${tuning.value} aria-controls="tuner" onClick=${() => (tuning.value = !tuning.value)}>
        <${Icon} name="tune" /><span class="wide">${t(edited.value.changed ? "composer.changed" : "composer.change")}</span>
      </button>
      <${AttachButton} />
      <${Against} />
      <${AgreementToggle} />
      <span class="grow"></span>
      <${Price} />
    </div>
  </form>`;
}

function Preset() {
  const known = setup.value;
  const names = new Set([...(known?.mixtures ?? []), ...(known?.models ?? [])].map((one) => one.name));
  return html`<span class="select"><label class="sr" for="preset">${t("composer.mixture")}</label>
    <select id="preset" value=${choice.value.model} onChange=${(event) => choose(event.target.value)} aria-describedby=${pattern.value ? "pattern" : undefined} title=${mixture.value?.auto ?? hindrance(mixture.value?.problem) ?? ""}>
      ${!names.has(choice.value.model) && html`<option value=${choice.value.model}>${choice.value.model}</option>`}
      <optgroup label=${t("composer.mixtures")}>${known?.mixtures.filter((one) => !one.problem).map((one) => html`<option value=${one.name}>${one.name} · ${t("calls", { n: one.calls })}</option>`)}</optgroup>
      ${known?.mixtures.some((one) => one.problem) && html`<optgroup label=${t("composer.mixtures_not")}>${known.mixtures.filter((one) => one.problem).map((one) => html`<option value=${one.name} title=${hindrance(one.problem)}>${one.name} · ${one.problem.length > 60 ? t("composer.cannot_here") : hindrance(one.problem)}</option>`)}</optgroup>`}
      <optgroup label=${t("composer.one_model")}>${known?.models.filter((one) => !one.problem).map((one) => html`<option value=${one.name}>${one.name}</option>`)}</optgroup>
    </select>${pattern.value && html`<span id="pattern" class="pattern" title=${ending(pattern.value).help || t("composer.pattern")}>${pattern.value}</span>`}<${Icon} name="chevron" /></span>`;
}

function Against() {
  const models = setup.value?.models.filter((one) => !one.problem) ?? [];
  const { against, blind } = choice.value;
  const pick = (text) => {
    const named = text.replace(/^blind:/, "");
    choice.value = { ...choice.value, against: named, blind: named !== text };
  };
  return html`<span class="select against ${against ? "on" : ""}"><${Icon} name="columns" /><label class="sr" for="against">${t("composer.compare_label")}</label>
    <select id="against" value=${blind ? `blind:${against}` : against} title=${t("composer.compare_title")} onChange=${(event) => pick(event.target.value)}>
      <option value="">${t("composer.compare")}</option>
      ${models.map((one) => html`<option value=${one.name}>${t("composer.alone", { model: short(one.name) })}</option>`)}
      ${setup.value?.runs && models.length > 0 && html`<optgroup label=${t("composer.blind_group")}>${models.map((one) => html`<option value=${`blind:${one.name}`}>${t("composer.blind", { model: short(one.name) })}</option>`)}</optgroup>`}
    </select></span>`;
}

function AgreementToggle() {
  const { agreement } = choice.value;
  return html`<button type="button" class="pick" aria-label=${t("composer.agreement_label")} aria-pressed=${agreement} title=${t("composer.agreement_title")} onClick=${() => (choice.value = { ...choice.value, agreement: !agreement })}>
    <${Icon} name="check" /><span class="wide">${t("composer.agreement")}</span>
  </button>`;
}

function Price() {
  const { state, data } = plan.value;
  const problem = refusal.value;
  const told = data && !problem
    ? html`<span><b>${t("calls", { n: data.calls })}</b></span><span class="most" title=${data.unknown_prices?.length ? t("composer.no_price", { names: data.unknown_prices.join(", ") }) : t("composer.worst")}>${most(data.max_cost_usd)}</span>`
    : html`<span class="bad" title=${problem}>${problem ? (data?.problem?.startsWith("needs") && state === "ready" ? t("composer.needs", { problem: hindrance(data.problem) }) : t("composer.not_askable")) : "…"}</span>`;
  return html`<p id="plan" class="price ${state}">${told}</p>`;
}

let shown = null; // what the tuner opened by itself for; it does that once
effect(() => {
  const { state, of } = plan.value;
  if (state === "error" && choice.value.proposers && of !== shown) {
    shown = of;
    tuning.value = true;
  }
});
effect(() => {
  if (!refusal.value) pointed.value = false;
});

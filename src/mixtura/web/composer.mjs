// Where a question is written, and where the mixture that will answer it is put together.
import { AttachButton, Attached, useDrop } from "./attachments.mjs";
import { effect, html, Icon, say, signal, tell, useLayoutEffect, useRef } from "./base.mjs";
import { SetUp } from "./firstrun.mjs";
import { count, dollars, ending, short } from "./format.mjs";
import { ask, busy, choice, choose, draft, edited, mixture, pattern, plan, refusal, replan, setup, stop } from "./state.mjs";
import { Tuner } from "./tuner.mjs";

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
      tell(draft.value.trim() ? "The answer is still being written: stop it (Esc), or ask when it is there" : "The answer is still being written");
      return;
    }
    if (!refusal.value || !draft.value.trim()) return void ask(draft.value);
    pointed.value = true;
    say(`This cannot be asked: ${refusal.value}`);
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
      <label class="sr" for="question">Your question</label>
      <textarea id="question" dir="auto" ref=${box} rows="1" placeholder=${follow ? "Ask a follow-up" : "Ask them anything"} value=${text}
        onInput=${(event) => (draft.value = event.target.value)} onKeyDown=${keys} aria-describedby=${why ? "plan refusal" : "plan"}></textarea>
      ${busy.value
        ? html`<button type="button" class="send stop" onClick=${stop} aria-label="Stop"><${Icon} name="stop" /></button>`
        : html`<button type="submit" class="send" disabled=${!text.trim()} aria-label="Ask"><${Icon} name="up" /></button>`}
    </div>
    ${why && html`<p id="refusal" class="problem" tabindex="0"><${Icon} name="warn" /><span>${why}</span>${needed && html`<${SetUp} wanted=${needed}>Enter the key<//>`}</p>`}
    <div class="below">
      <${Preset} />
      <button type="button" class="pick" aria-label="Change the mixture" aria-expanded=${tuning.value} aria-controls="tuner" onClick=${() => (tuning.value = !tuning.value)}>
        <${Icon} name="tune" /><span class="wide">${edited.value.changed ? "Changed" : "Change"}</span>
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
  return html`<span class="select"><label class="sr" for="preset">Mixture</label>
    <select id="preset" value=${choice.value.model} onChange=${(event) => choose(event.target.value)} aria-describedby=${pattern.value ? "pattern" : undefined} title=${mixture.value?.auto ?? mixture.value?.problem ?? ""}>
      ${!names.has(choice.value.model) && html`<option value=${choice.value.model}>${choice.value.model}</option>`}
      <optgroup label="Mixtures">${known?.mixtures.filter((one) => !one.problem).map((one) => html`<option value=${one.name}>${one.name} · ${count(one.calls, "call")}</option>`)}</optgroup>
      ${known?.mixtures.some((one) => one.problem) && html`<optgroup label="Mixtures that cannot run here">${known.mixtures.filter((one) => one.problem).map((one) => html`<option value=${one.name} title=${one.problem}>${one.name} · ${one.problem.length > 60 ? "cannot run here" : one.problem}</option>`)}</optgroup>`}
      <optgroup label="One model alone">${known?.models.filter((one) => !one.problem).map((one) => html`<option value=${one.name}>${one.name}</option>`)}</optgroup>
    </select>${pattern.value && html`<span id="pattern" class="pattern" title=${ending(pattern.value).help || "How it comes to its answer"}>${pattern.value}</span>`}<${Icon} name="chevron" /></span>`;
}

function Against() {
  const models = setup.value?.models.filter((one) => !one.problem) ?? [];
  const { against, blind } = choice.value;
  const pick = (text) => {
    const named = text.replace(/^blind:/, "");
    choice.value = { ...choice.value, against: named, blind: named !== text };
  };
  return html`<span class="select against ${against ? "on" : ""}"><${Icon} name="columns" /><label class="sr" for="against">Compare with one model alone</label>
    <select id="against" value=${blind ? `blind:${against}` : against} title="Ask one model alone, too" onChange=${(event) => pick(event.target.value)}>
      <option value="">Compare</option>
      ${models.map((one) => html`<option value=${one.name}>${short(one.name)} alone</option>`)}
      ${setup.value?.runs && models.length > 0 && html`<optgroup label="Without names: you choose the better one">${models.map((one) => html`<option value=${`blind:${one.name}`}>${short(one.name)}, blind</option>`)}</optgroup>`}
    </select></span>`;
}

function AgreementToggle() {
  const { agreement } = choice.value;
  return html`<button type="button" class="pick" aria-label="Agreement report" aria-pressed=${agreement} title="Report where the proposals agree, for one call more" onClick=${() => (choice.value = { ...choice.value, agreement: !agreement })}>
    <${Icon} name="check" /><span class="wide">Agreement</span>
  </button>`;
}

function Price() {
  const { state, data } = plan.value;
  const problem = refusal.value;
  const told = data && !problem
    ? html`<span><b>${count(data.calls, "call")}</b></span><span class="most" title=${data.unknown_prices?.length ? `No price is known of ${data.unknown_prices.join(", ")}` : "The worst case: every call writes all it may"}>${data.max_cost_usd === null ? "price unknown" : data.max_cost_usd === 0 ? "free" : `at most ${dollars(data.max_cost_usd)}`}</span>`
    : html`<span class="bad" title=${problem}>${problem ? (data?.problem?.startsWith("needs") && state === "ready" ? `cannot run: ${data.problem}` : "cannot be asked") : "…"}</span>`;
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

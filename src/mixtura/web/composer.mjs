// Where a question is written, and where the mixture that will answer it is put together.
import { AttachButton, Attached, useDrop } from "./attachments.mjs";
import { effect, html, Icon, say, signal, tell, useEffect, useId, useLayoutEffect, useRef } from "./base.mjs";
import { SetUp } from "./firstrun.mjs";
import { count, dollars, ending, short } from "./format.mjs";
import { ask, busy, choice, choose, draft, edited, mixture, pattern, plan, refusal, replan, setup, stop } from "./state.mjs";

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
    ${tuning.value && html`<${Tuner} />`}
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

// ---- proposers, aggregator, layers

// What a model costs, beside its name in the lists: dollars per million tokens.
function priceOf(name) {
  const price = setup.value?.models.find((one) => one.name === name)?.price;
  if (!price) return undefined;
  return price.every((each) => each === 0) ? `${name}: free` : `${name}: ${price.map(dollars).join(" in, ")} out, per million tokens`;
}

function Tuner() {
  const { proposers, aggregator, layers, changed } = edited.value;
  const list = useId();
  const alone = layers < 2;
  const set = (rows) => (choice.value = { ...choice.value, proposers: rows, layers: Math.max(2, layers), aggregator: choice.value.aggregator ?? aggregator });
  const names = [...new Set([...(setup.value?.models ?? []).filter((one) => !one.problem).map((one) => one.name), ...(setup.value?.mixtures ?? []).filter((one) => !one.problem).map((one) => one.name)])];
  const add = () => set([...(alone ? [] : proposers), { model: proposers.at(-1)?.model ?? aggregator ?? names[0] ?? "", samples: 1 }]);
  const box = useRef(null);
  useEffect(() => {
    if (document.activeElement?.id === "question") return; // it opened by itself: who writes goes on writing
    box.current.querySelector("input, button")?.focus({ preventScroll: true });
  }, []);
  const { does } = ending(pattern.value);
  const { state, data, error } = plan.value;
  return html`<section class="tuner" id="tuner" ref=${box} aria-label="The mixture" onKeyDown=${(event) => { if (event.key === "Escape") { event.stopPropagation(); tuning.value = false; focusQuestion(); } }}>
    <datalist id=${list}>${names.map((name) => html`<option value=${name} label=${priceOf(name)} />`)}</datalist>
    <fieldset class="proposers"><legend>Proposers, in every layer but the last</legend>
      ${(alone ? [] : proposers).map((row, i) => {
        const put = (change) => set(proposers.map((one, j) => (j === i ? { ...one, ...change } : one)));
        return html`<div class="proposer" key=${i}>
          <i class="swatch c${proposers.slice(0, i).reduce((sum, one) => sum + one.samples, 0) % 8}"></i>
          <input type="text" list=${list} value=${row.model} aria-label=${`Proposer ${i + 1}: model`} spellcheck=${false} autocomplete="off" onInput=${(event) => put({ model: event.target.value })} />
          <span class="stepper" role="group" aria-label=${`Proposer ${i + 1}: drafts`}>
            <button type="button" aria-label="One draft less" disabled=${row.samples <= 1} onClick=${() => put({ samples: row.samples - 1 })}><${Icon} name="minus" /></button>
            <output aria-live="polite">×${row.samples}</output>
            <button type="button" aria-label="One draft more" disabled=${row.samples >= 16} onClick=${() => put({ samples: row.samples + 1 })}><${Icon} name="plus" /></button>
          </span>
          <button type="button" class="quiet icon-only" aria-label=${`Remove proposer ${i + 1}`} disabled=${proposers.length < 2} onClick=${() => set(proposers.filter((_, j) => j !== i))}><${Icon} name="close" /></button>
        </div>`;
      })}
      <button type="button" class="quiet small add" onClick=${add}><${Icon} name="plus" />Add a proposer</button>
    </fieldset>
    <div class="rest">
      <label class="field"><span>${does[0].toUpperCase() + does.slice(1)}</span><input type="text" list=${list} value=${aggregator} spellcheck=${false} autocomplete="off" onInput=${(event) => (choice.value = { ...choice.value, aggregator: event.target.value })} /></label>
      <div class="field"><span id="layers-label">Layers</span><span class="stepper" role="group" aria-labelledby="layers-label">
        <button type="button" aria-label="One layer less" disabled=${layers <= 2} onClick=${() => (choice.value = { ...choice.value, layers: layers - 1 })}><${Icon} name="minus" /></button>
        <output aria-live="polite">${layers}</output>
        <button type="button" aria-label="One layer more" disabled=${alone || layers >= 16} onClick=${() => (choice.value = { ...choice.value, layers: layers + 1 })}><${Icon} name="plus" /></button>
      </span></div>
      <${Sketch} rows=${data?.layers ?? []} />
      <div class="tunerfoot">${changed && html`<button type="button" class="quiet small" onClick=${() => choose(choice.value.model)}>Back to ${choice.value.model}</button>`}
      <button type="button" class="quiet small" onClick=${() => { tuning.value = false; focusQuestion(); }}>Done</button></div>
    </div>
    <label class="field system"><span>Instructions for all of them (system prompt)</span><textarea rows="2" dir="auto" value=${choice.value.system} onInput=${(event) => (choice.value = { ...choice.value, system: event.target.value })}></textarea></label>
    ${state === "error" && html`<p class="problem" role="alert"><${Icon} name="warn" /><span>${error}</span></p>`}
  </section>`;
}

// The shape in dots.
export function Sketch({ rows, width = 180 }) {
  if (!rows.length) return null;
  const step = 34;
  const high = rows.length * step + 14;
  const x = (i, n) => width / 2 + (i - (n - 1) / 2) * Math.min(26, (width - 16) / Math.max(n, 1));
  const all = [...rows, ["aggregator"]];
  return html`<svg class="sketch" width=${width} height=${high} viewBox=${`0 0 ${width} ${high}`} role="img" aria-label=${`${all.length} layers: ${rows.map((row) => row.length).join(", ")} proposers, one aggregator`}>
    ${all.slice(0, -1).map((row, l) => row.map((_, i) => all[l + 1].map((__, j) => html`<path class="c${i % 8}" d=${`M${x(i, row.length)} ${8 + l * step}C${x(i, row.length)} ${8 + l * step + 18} ${x(j, all[l + 1].length)} ${8 + l * step + 16} ${x(j, all[l + 1].length)} ${8 + (l + 1) * step}`} />`)))}
    ${all.map((row, l) => row.map((_, i) => html`<circle class=${l === all.length - 1 ? "ink" : `c${i % 8}`} cx=${x(i, row.length)} cy=${8 + l * step} r="4" />`))}
  </svg>`;
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

// The team as it is changed: proposers, aggregator, layers, and what each seat is told.
import { call, key } from "./access.mjs";
import { html, Icon, tell, useEffect, useRef, useState } from "./base.mjs";
import { ending } from "./format.mjs";
import { t } from "./language.mjs";
import { ModelField } from "./models.mjs";
import { useSeatSettings } from "./seats.mjs";
import { changes, choice, choose, edited, enter, pattern, plan, replan, setup } from "./page_state.mjs";

function Row({ row, number, hue, put, remove }) {
  const who = t("tuner.proposer", { n: number });
  const { button, fields } = useSeatSettings({ seat: row, who, put });
  return html`<div class="proposer">
      <i class="swatch c${hue}"></i>
      <${ModelField} value=${row.model} label=${t("tuner.model_of", { who })} put=${(model) => put({ model })} />
      <span class="stepper" role="group" aria-label=${t("tuner.drafts_of", { who })}>
        <button type="button" aria-label=${t("tuner.less_drafts")} disabled=${row.samples <= 1} onClick=${() => put({ samples: row.samples - 1 })}><${Icon} name="minus" /></button>
        <output aria-live="polite">×${row.samples}</output>
        <button type="button" aria-label=${t("tuner.more_drafts")} disabled=${row.samples >= 16} onClick=${() => put({ samples: row.samples + 1 })}><${Icon} name="plus" /></button>
      </span>
      ${button}
      <button type="button" class="quiet icon-only" aria-label=${t("tuner.remove", { n: number })} disabled=${!remove} onClick=${remove}><${Icon} name="close" /></button>
    </div>${fields}`;
}

function LastSeat() {
  const { aggregator, last } = edited.value;
  const { does } = ending(pattern.value);
  const name = does[0].toUpperCase() + does.slice(1);
  const put = (change) => (choice.value = { ...choice.value, last: { ...last, ...change } });
  const { button, fields } = useSeatSettings({ seat: last, who: name, put });
  return html`<div class="field"><span aria-hidden="true">${name}</span><div class="proposer">
      <${ModelField} value=${aggregator} label=${name} put=${(model) => (choice.value = { ...choice.value, aggregator: model })} />${button}</div>${fields}</div>`;
}

// The changed team under a name, as a mixture of this server.
function SavePreset({ ready }) {
  const [form, put] = useState(null); // { name, error, before } while it is open
  const box = useRef(null);
  useEffect(() => {
    if (form) box.current?.focus();
  }, [Boolean(form)]);
  if (!setup.value?.saves) return null;
  if (!form) return html`<button type="button" class="quiet small" disabled=${!ready} onClick=${() => put({ name: "" })}>${t("preset.save")}</button>`;
  const save = async () => {
    const name = form.name.trim();
    if (!name) return;
    try {
      const body = { name, model: choice.value.model, mixtura: changes(), replace: form.before === name };
      const saved = await (await call("/api/mixtures", { method: "POST", body })).json();
      await enter(key.value);
      choose(saved.name);
      replan();
      put(null);
      tell(t("preset.saved", { name: saved.name, file: saved.file }));
    } catch (error) {
      put({ ...form, error: error.message, before: error.code === "saved_before" ? name : null });
    }
  };
  const keys = (event) => {
    if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault(); // a name is not a question
      save();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      put(null);
    }
  };
  return html`<div class="savepreset" role="group" aria-label=${t("preset.save_label")}>
    <label class="field"><span>${t("preset.name")}</span><input type="text" ref=${box} maxlength="80" value=${form.name} autocomplete="off" spellcheck=${false} onKeyDown=${keys} onInput=${(event) => put({ name: event.target.value })} /></label>
    ${form.error && html`<p class="problem" role="alert"><${Icon} name="warn" /><span>${form.error}</span></p>`}
    <div class="tunerfoot"><button type="button" class="quiet small" onClick=${() => put(null)}>${t("cancel")}</button><button type="button" class="quiet small" disabled=${!ready || !form.name.trim()} onClick=${save}>${t(form.before === form.name.trim() ? "preset.replace" : "save")}</button></div>
  </div>`;
}

export function Tuner({ close }) {
  const { proposers, aggregator, layers, changed } = edited.value;
  const alone = layers < 2;
  const set = (rows) => (choice.value = { ...choice.value, proposers: rows, layers: Math.max(2, layers), aggregator: choice.value.aggregator ?? aggregator });
  const add = () => set([...(alone ? [] : proposers), { model: proposers.at(-1)?.model ?? aggregator, samples: 1 }]);
  const box = useRef(null);
  useEffect(() => {
    if (document.activeElement?.id === "question") return; // it opened by itself: who writes goes on writing
    box.current.querySelector("input, button")?.focus({ preventScroll: true });
  }, []);
  const { state, data, error } = plan.value;
  return html`<section class="tuner" id="tuner" ref=${box} aria-label=${t("tuner.title")} onKeyDown=${(event) => { if (event.key === "Escape") { event.stopPropagation(); close(); } }}>
    <fieldset class="proposers"><legend>${t("tuner.proposers")}</legend>
      ${(alone ? [] : proposers).map((row, i) => html`<${Row} key=${i} row=${row} number=${i + 1}
        hue=${proposers.slice(0, i).reduce((sum, one) => sum + one.samples, 0) % 8}
        put=${(change) => set(proposers.map((one, j) => (j === i ? { ...one, ...change } : one)))}
        remove=${proposers.length < 2 ? null : () => set(proposers.filter((_, j) => j !== i))} />`)}
      <button type="button" class="quiet small add" onClick=${add}><${Icon} name="plus" />${t("tuner.add")}</button>
    </fieldset>
    <div class="rest">
      <${LastSeat} />
      <div class="field"><span id="layers-label">${t("tuner.layers")}</span><span class="stepper" role="group" aria-labelledby="layers-label">
        <button type="button" aria-label=${t("tuner.less_layers")} disabled=${layers <= 2} onClick=${() => (choice.value = { ...choice.value, layers: layers - 1 })}><${Icon} name="minus" /></button>
        <output aria-live="polite">${layers}</output>
        <button type="button" aria-label=${t("tuner.more_layers")} disabled=${alone || layers >= 16} onClick=${() => (choice.value = { ...choice.value, layers: layers + 1 })}><${Icon} name="plus" /></button>
      </span></div>
      <${Sketch} rows=${data?.layers ?? []} />
      ${changed && html`<${SavePreset} ready=${state === "ready"} />`}
    </div>
    <label class="field system"><span>${t("tuner.system")}</span><textarea rows="2" dir="auto" value=${choice.value.system} onInput=${(event) => (choice.value = { ...choice.value, system: event.target.value })}></textarea></label>
    ${state === "error" && html`<p class="problem" role="alert"><${Icon} name="warn" /><span>${error}</span></p>`}
    <div class="tunerfoot">${changed && html`<button type="button" class="quiet small" onClick=${() => choose(choice.value.model)}>${t("tuner.back", { model: choice.value.model })}</button>`}
      <button type="button" class="quiet small" onClick=${close}>${t("done")}</button></div>
  </section>`;
}

// The shape in dots.
export function Sketch({ rows, width = 180 }) {
  if (!rows.length) return null;
  const step = 34;
  const high = rows.length * step + 14;
  const x = (i, n) => width / 2 + (i - (n - 1) / 2) * Math.min(26, (width - 16) / Math.max(n, 1));
  const all = [...rows, ["aggregator"]];
  return html`<svg class="sketch" width=${width} height=${high} viewBox=${`0 0 ${width} ${high}`} role="img" aria-label=${t("tuner.shape", { n: all.length, counts: rows.map((row) => row.length).join(", ") })}>
    ${all.slice(0, -1).map((row, l) => row.map((_, i) => all[l + 1].map((__, j) => html`<path class="c${i % 8}" d=${`M${x(i, row.length)} ${8 + l * step}C${x(i, row.length)} ${8 + l * step + 18} ${x(j, all[l + 1].length)} ${8 + l * step + 16} ${x(j, all[l + 1].length)} ${8 + (l + 1) * step}`} />`)))}
    ${all.map((row, l) => row.map((_, i) => html`<circle class=${l === all.length - 1 ? "ink" : `c${i % 8}`} cx=${x(i, row.length)} cy=${8 + l * step} r="4" />`))}
  </svg>`;
}

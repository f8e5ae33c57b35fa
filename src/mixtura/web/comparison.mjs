// One model alone beside an answer that is there: chosen, its price said, then asked.
import { html, Icon, useEffect, useState } from "./base.mjs";
import { call } from "./access.mjs";
import { most, short } from "./format.mjs";
import { t } from "./language.mjs";
import { busy, compare, conversationBefore, setup } from "./page_state.mjs";

async function priced(model, messages) {
  try {
    return await (await call("/api/plan", { method: "POST", body: { model, messages } })).json();
  } catch (error) {
    return { problem: error.message };
  }
}

export function CompareAfter({ one }) {
  const [model, choose] = useState("");
  const [plan, tell] = useState(null);
  const models = setup.value?.models.filter((other) => !other.problem) ?? [];
  useEffect(() => {
    tell(null);
    if (!model) return undefined;
    let wanted = true;
    priced(model, conversationBefore(one)).then((data) => wanted && tell(data));
    return () => (wanted = false);
  }, [model]);
  if (!models.length) return null;
  const told = plan && (plan.problem ?? most(plan.max_cost_usd));
  return html`<span class="compareafter">
    <span class="select against"><${Icon} name="columns" /><label class="sr" for=${`with-${one.number}`}>${t("composer.compare_label")}</label>
      <select id=${`with-${one.number}`} disabled=${busy.value} value=${model} onChange=${(event) => choose(event.target.value)}>
        <option value="">${t("compare.with")}</option>${models.map((other) => html`<option value=${other.name}>${t("composer.alone", { model: short(other.name) })}</option>`)}</select></span>
    ${model && html`<span class="dim small" role="status">${told ?? "…"}</span>
      <button type="button" class="quiet small" disabled=${busy.value || !plan || plan.problem} onClick=${() => compare(one, model)}>${t("compare.ask", { model: short(model) })}</button>`}
  </span>`;
}

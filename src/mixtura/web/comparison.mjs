// One model alone beside an answer that is there: chosen, its price said, then asked.
import { html, Icon, useEffect, useState } from "./base.mjs";
import { call } from "./access.mjs";
import { dollars, short } from "./format.mjs";
import { busy, compare, conversationBefore, setup } from "./state.mjs";

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
  const most = plan && (plan.problem ?? (plan.max_cost_usd === null ? "price unknown" : plan.max_cost_usd === 0 ? "free" : `at most ${dollars(plan.max_cost_usd)}`));
  return html`<span class="compareafter">
    <span class="select against"><${Icon} name="columns" /><label class="sr" for=${`with-${one.number}`}>Compare with one model alone</label>
      <select id=${`with-${one.number}`} disabled=${busy.value} value=${model} onChange=${(event) => choose(event.target.value)}>
        <option value="">Compare with…</option>${models.map((other) => html`<option value=${other.name}>${short(other.name)} alone</option>`)}</select></span>
    ${model && html`<span class="dim small" role="status">${most ?? "…"}</span>
      <button type="button" class="quiet small" disabled=${busy.value || !plan || plan.problem} onClick=${() => compare(one, model)}>Ask ${short(model)}</button>`}
  </span>`;
}

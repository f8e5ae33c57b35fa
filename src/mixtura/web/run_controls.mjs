// A hand on a run: one proposer asked again or replaced; afterwards its drafts used again, a report.
import { dialog, html, Icon, useEffect, useState } from "./base.mjs";
import { call as request } from "./access.mjs";
import { most } from "./format.mjs";
import { pieces, t } from "./language.mjs";
import { Sheet } from "./call_details.mjs";
import { askReport, busy, conversationBefore, goOn, setup, steer, turns } from "./page_state.mjs";

const models = () => setup.value?.models.filter((one) => !one.problem) ?? [];
const close = (event) => event.currentTarget.closest("dialog").close();

// What a call can cost, as the server says; null while it is asked.
function usePrice(path, body) {
  const [price, tell] = useState(null);
  useEffect(() => {
    tell(null);
    if (!path) return undefined;
    let wanted = true;
    request(path, { method: "POST", body })
      .then((reply) => reply.json())
      .catch((error) => ({ problem: error.message }))
      .then((found) => wanted && tell(found));
    return () => (wanted = false);
  }, [path, JSON.stringify(body)]);
  return price;
}

function Price({ price }) {
  if (!price) return html`<span class="dim" role="status">…</span>`;
  if (price.problem) return html`<span class="bad" role="status" lang="en">${price.problem}</span>`;
  return html`<span role="status">${pieces("hand.price", { calls: html`<b>${t("calls", { n: price.calls })}</b>`, most: most(price.max_cost_usd) })}</span>`;
}

// ---- while it runs: in the details of a proposer

export function CallHand({ run, call }) {
  const [model, choose] = useState("");
  const one = turns.value.find((other) => other.run === run);
  const body = { model, messages: one ? conversationBefore(one) : [] };
  const price = usePrice(model && one ? "/api/plan" : null, body);
  run.tick.value;
  call.tick.value;
  const row = run.layers.find((other) => other.includes(call)) ?? [];
  const waits = call.live || (call.state === "failed" && row.some((other) => other.live));
  if (!run.live || !waits) return null;
  const place = { layer: call.layer, index: call.index };
  return html`<div class="hand callhand">
    ${call.live && html`<button type="button" class="quiet small" title=${t("hand.leave_out_title")} onClick=${() => steer(run, "leave_out", place)}>${t("hand.leave_out")}</button>`}
    <button type="button" class="quiet small" title=${t(call.live ? "hand.again_title" : "hand.once_more")} onClick=${() => steer(run, "ask_again", place)}>${t("hand.again")}</button>
    <span class="select"><label class="sr" for="replace">${t("hand.replace_label")}</label>
      <select id="replace" value=${model} onChange=${(event) => choose(event.target.value)}><option value="">${t("replace_with")}</option>${models().map(({ name }) => html`<option value=${name}>${name}</option>`)}</select><${Icon} name="chevron" /></span>
    ${model && html`<${Price} price=${price} /><button type="button" class="quiet small" disabled=${!price || price.problem} onClick=${() => steer(run, "ask_again", { ...place, model })}>${t("hand.replace")}</button>`}
  </div>`;
}

// ---- afterwards: below the answer

export function AfterHand({ one }) {
  const { run } = one;
  run.tick.value;
  if (!setup.value?.runs || !run.recorded || run.live || !run.proposers.length) return null;
  const last = new Map(run.proposers.map((call) => [call.key, call]));
  const there = [...last.values()].filter((call) => call.state === "done").length;
  const asked = [...last.values()].filter((call) => call.state !== "waiting").length;
  const missing = asked - there; // of a layer that was passed over nothing is missing
  if (!there) return null;
  const open = (kind, more = {}) => (dialog.value = { kind, one, ...more });
  return html`<span class="afterhand">
    ${missing > 0 && html`<button type="button" class="quiet small" disabled=${busy.value} title=${t("hand.missing_title")} onClick=${() => open("again", { ask: "missing", missing })}><${Icon} name="again" /><span>${t("hand.missing", { n: missing })}</span></button>`}
    <button type="button" class="quiet small" disabled=${busy.value} title=${t("hand.anew_title")} onClick=${() => open("again", { ask: "answer" })}><${Icon} name="edit" /><span>${t("hand.anew")}</span></button>
    ${there > 1 && !run.agreement?.report && html`<button type="button" class="quiet small" disabled=${busy.value} title=${t("hand.agree_title")} onClick=${() => open("report")}><${Icon} name="check" /><span>${t("hand.agree")}</span></button>`}
  </span>`;
}

export function GoOn({ one, ask, missing = 0 }) {
  const [aggregator, choose] = useState("");
  const [instruction, write] = useState("");
  const wish = { ask, ...(aggregator ? { aggregator } : {}) };
  const price = usePrice(`/api/runs/${encodeURIComponent(one.run.id)}/again`, { ...wish, dry_run: true });
  const go = (event) => {
    event.preventDefault();
    close(event);
    goOn(one, instruction.trim() ? { ...wish, instruction } : wish);
  };
  const title = t(ask === "missing" ? "hand.ask_missing" : "hand.anew");
  return html`<${Sheet} title=${title} kind="small" close=${() => (dialog.value = null)}>
    <h2>${title}</h2>
    <p class="dim">${t(ask === "missing" ? "hand.missing_told" : "hand.anew_told", { n: missing })}</p>
    <form class="goon" onSubmit=${go}>
      <label class="field"><span>${t("hand.who")}</span><select value=${aggregator} onChange=${(event) => choose(event.target.value)}><option value="">${t("hand.as_before")}</option>${models().map(({ name }) => html`<option value=${name}>${name}</option>`)}</select></label>
      <label class="field"><span>${t("hand.told")}</span><textarea rows="3" dir="auto" maxlength="20000" placeholder=${t("hand.told_hint")} onInput=${(event) => write(event.target.value)}>${instruction}</textarea></label>
      <div class="actions"><${Price} price=${price} /><span class="grow"></span><button type="button" class="quiet" onClick=${close}>${t("cancel")}</button><button type="submit" class="button primary" disabled=${busy.value || !price || price.problem}>${t("ask")}</button></div>
    </form>
  <//>`;
}

export function ReportPrice({ one }) {
  const price = usePrice(`/api/runs/${encodeURIComponent(one.run.id)}/agreement`, { dry_run: true });
  const go = (event) => {
    close(event);
    askReport(one.run);
  };
  return html`<${Sheet} title=${t("hand.agree")} kind="small" close=${() => (dialog.value = null)}>
    <h2>${t("hand.agree")}</h2>
    <p class="dim">${t("hand.report_told", { model: price?.by ?? t("hand.a_model") })}</p>
    <div class="actions"><${Price} price=${price} /><span class="grow"></span><button type="button" class="quiet" onClick=${close}>${t("cancel")}</button><button type="button" class="button primary" disabled=${busy.value || !price || price.problem} onClick=${go}>${t("hand.make_report")}</button></div>
  <//>`;
}

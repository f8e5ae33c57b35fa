// A hand on a run: one proposer asked again or replaced; afterwards its drafts used again, a report.
import { dialog, html, Icon, useEffect, useState } from "./base.mjs";
import { call as request } from "./access.mjs";
import { count, dollars, short } from "./format.mjs";
import { Sheet } from "./details.mjs";
import { askReport, busy, conversationBefore, goOn, setup, steer, turns } from "./state.mjs";

const models = () => setup.value?.models.filter((one) => !one.problem) ?? [];
const close = (event) => event.currentTarget.closest("dialog").close();
const most = (price) =>
  price.max_cost_usd === null ? "price unknown" : price.max_cost_usd === 0 ? "free" : `at most ${dollars(price.max_cost_usd)}`;

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
  if (price.problem) return html`<span class="bad" role="status">${price.problem}</span>`;
  return html`<span role="status"><b>${count(price.calls, "call")}</b>, ${most(price)}</span>`;
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
    ${call.live && html`<button type="button" class="quiet small" title="End this call; the answer is made without it" onClick=${() => steer(run, "leave_out", place)}>Leave it out</button>`}
    <button type="button" class="quiet small" title=${call.live ? "End this call and begin it anew; what it has cost by now is paid" : "Ask it once more"} onClick=${() => steer(run, "ask_again", place)}>Ask it again</button>
    <span class="select"><label class="sr" for="replace">Replace it with another model</label>
      <select id="replace" value=${model} onChange=${(event) => choose(event.target.value)}><option value="">Replace with…</option>${models().map(({ name }) => html`<option value=${name}>${name}</option>`)}</select><${Icon} name="chevron" /></span>
    ${model && html`<${Price} price=${price} /><button type="button" class="quiet small" disabled=${!price || price.problem} onClick=${() => steer(run, "ask_again", { ...place, model })}>Replace</button>`}
  </div>`;
}

// ---- afterwards: below the answer

export function AfterHand({ one }) {
  const { run } = one;
  run.tick.value;
  if (!setup.value?.runs || !run.recorded || run.live || !run.proposers.length) return null;
  const last = new Map(run.proposers.map((call) => [call.key, call]));
  const there = [...last.values()].filter((call) => call.state === "done").length;
  const missing = last.size - there;
  if (!there) return null;
  const open = (kind, more = {}) => (dialog.value = { kind, one, ...more });
  return html`<span class="afterhand">
    ${missing > 0 && html`<button type="button" class="quiet small" disabled=${busy.value} title="Only the proposers without a draft are asked; the drafts that are there cost nothing more" onClick=${() => open("again", { ask: "missing", missing })}><${Icon} name="again" /><span>Ask the missing ${missing}</span></button>`}
    <button type="button" class="quiet small" disabled=${busy.value} title="The last step alone, on the drafts that are there" onClick=${() => open("again", { ask: "answer" })}><${Icon} name="edit" /><span>Answer anew</span></button>
    ${there > 1 && !run.agreement?.report && html`<button type="button" class="quiet small" disabled=${busy.value} title="Report where the drafts agree" onClick=${() => open("report")}><${Icon} name="check" /><span>Where they agree</span></button>`}
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
  const title = ask === "missing" ? "Ask the missing" : "Answer anew";
  return html`<${Sheet} title=${title} kind="small" close=${() => (dialog.value = null)}>
    <h2>${title}</h2>
    <p class="dim">${ask === "missing" ? `${count(missing, "proposer")} without a draft, then the answer. The drafts that are there are used again and cost nothing more.` : "Only the last step runs, on the drafts that are there. They cost nothing more."} It becomes another version of this turn.</p>
    <form class="goon" onSubmit=${go}>
      <label class="field"><span>Who writes the answer</span><select value=${aggregator} onChange=${(event) => choose(event.target.value)}><option value="">as before</option>${models().map(({ name }) => html`<option value=${name}>${name}</option>`)}</select></label>
      <label class="field"><span>What it is told besides</span><textarea rows="3" dir="auto" maxlength="20000" placeholder="Shorter, as a table" onInput=${(event) => write(event.target.value)}>${instruction}</textarea></label>
      <div class="actions"><${Price} price=${price} /><span class="grow"></span><button type="button" class="quiet" onClick=${close}>Cancel</button><button type="submit" class="button primary" disabled=${busy.value || !price || price.problem}>Ask</button></div>
    </form>
  <//>`;
}

export function ReportPrice({ one }) {
  const price = usePrice(`/api/runs/${encodeURIComponent(one.run.id)}/agreement`, { dry_run: true });
  const go = (event) => {
    close(event);
    askReport(one.run);
  };
  return html`<${Sheet} title="Where they agree" kind="small" close=${() => (dialog.value = null)}>
    <h2>Where they agree</h2>
    <p class="dim">${price?.by ?? "A model"} reads all drafts once more and says what all of them claim, what is disputed, what only one says and what none covers. The report is kept with the run.</p>
    <div class="actions"><${Price} price=${price} /><span class="grow"></span><button type="button" class="quiet" onClick=${close}>Cancel</button><button type="button" class="button primary" disabled=${busy.value || !price || price.problem} onClick=${go}>Make the report</button></div>
  <//>`;
}

// Where the proposals agree and differ, and how sure the answer is.
import { html, Icon } from "./base.mjs";
import { count, percent } from "./format.mjs";

const known = (number) => number !== null && number !== undefined;

function Who({ names, first = false }) {
  return html`<span class=${first ? "whosays first" : "whosays"}>${names.join(", ")}</span>`;
}

function Claims({ title, rows }) {
  if (!rows.length) return null;
  return html`<h4>${title}</h4><ul>${rows.map(({ claim, who }) => html`<li>${claim} <${Who} names=${who} /></li>`)}</ul>`;
}

function Report({ report }) {
  return html`
    <${Claims} title="Agreed" rows=${report.agreed} />
    ${report.disputed.length > 0 &&
    html`<h4>Disputed</h4><ul>${report.disputed.map(
      ({ topic, stances }) => html`<li>${topic}<ul>${stances.map(({ claim, who }) => html`<li><${Who} names=${who} first /> ${claim}</li>`)}</ul></li>`,
    )}</ul>`}
    <${Claims} title="Only one says" rows=${report.only_one} />
    ${report.not_covered.length > 0 && html`<h4>Not covered</h4><ul>${report.not_covered.map((text) => html`<li>${text}</li>`)}</ul>`}
    <p class="dim">${count(report.members.length, "proposal")}, compared by ${report.by}.</p>`;
}

export function Agreement({ run }) {
  run.tick.value;
  const { agreement, confidence } = run;
  if (run.live || (!agreement && !known(confidence))) return null;
  const report = agreement?.report;
  return html`<div class="agreement panel" role="group" aria-label="Agreement">
    <header>
      <h3>Agreement</h3>
      ${known(agreement?.number) && html`<b>${percent(agreement.number)}</b><progress max="1" value=${agreement.number} aria-label="Agreement"></progress>`}
      <span class="grow"></span>
      ${known(confidence) && html`<span class="sure">Confidence <b>${percent(confidence)}</b></span>`}
    </header>
    ${agreement?.reason && html`<p class="note"><${Icon} name="warn" /> ${report ? "No number" : "No report"}: ${agreement.reason}.</p>`}
    ${report && html`<${Report} report=${report} />`}
  </div>`;
}

// Where the proposals agree and differ, and how sure the answer is.
import { html, Icon } from "./base.mjs";
import { percent } from "./format.mjs";
import { pieces, t } from "./language.mjs";

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
    <${Claims} title=${t("agreement.agreed")} rows=${report.agreed} />
    ${report.disputed.length > 0 &&
    html`<h4>${t("agreement.disputed")}</h4><ul>${report.disputed.map(
      ({ topic, stances }) => html`<li>${topic}<ul>${stances.map(({ claim, who }) => html`<li><${Who} names=${who} first /> ${claim}</li>`)}</ul></li>`,
    )}</ul>`}
    <${Claims} title=${t("agreement.only_one")} rows=${report.only_one} />
    ${report.not_covered.length > 0 && html`<h4>${t("agreement.not_covered")}</h4><ul>${report.not_covered.map((text) => html`<li>${text}</li>`)}</ul>`}
    <p class="dim">${t("agreement.by", { proposals: t("proposals", { n: report.members.length }), model: report.by })}</p>`;
}

export function Agreement({ run }) {
  run.tick.value;
  const { agreement, confidence } = run;
  if (run.live || (!agreement && !known(confidence))) return null;
  const report = agreement?.report;
  return html`<div class="agreement panel" role="group" aria-label=${t("agreement.title")}>
    <header>
      <h3>${t("agreement.title")}</h3>
      ${known(agreement?.number) && html`<b>${percent(agreement.number)}</b><progress max="1" value=${agreement.number} aria-label=${t("agreement.title")}></progress>`}
      <span class="grow"></span>
      ${known(confidence) && html`<span class="sure">${pieces("agreement.confidence", { percent: html`<b>${percent(confidence)}</b>` })}</span>`}
    </header>
    ${agreement?.reason && html`<p class="note"><${Icon} name="warn" /> ${pieces(report ? "agreement.no_number" : "agreement.no_report", { why: html`<span lang="en">${agreement.reason}</span>` })}</p>`}
    ${report && html`<${Report} report=${report} />`}
  </div>`;
}

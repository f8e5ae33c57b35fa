// What ran when, and what the whole run waited for.
import { dialog, html, useClock, useRef, useWidth } from "./base.mjs";
import { fixed, seconds, short } from "./format.mjs";
import { t } from "./language.mjs";
import { critical } from "./run.mjs";
import { seat } from "./cards.mjs";

const ROW = 26;
const signs = { aggregator: "⊕", reporter: "≟", judge: "≷" };

function steps(end, room) {
  const wanted = end / Math.max(2, Math.floor(room / 90));
  const power = 10 ** Math.floor(Math.log10(wanted || 1));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= wanted) ?? wanted;
  const marks = [];
  for (let at = 0; at <= end + step * 0.001; at += step) marks.push(at);
  return { marks, digits: Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)) };
}

export function Axis({ run }) {
  run.tick.value;
  const box = useRef(null);
  const width = useWidth(box, 800);
  const now = useClock(run.live && run.began !== null) - (run.began ?? 0);
  for (const [call] of run.all()) call.tick.value;
  const end = Math.max(run.live ? Math.max(now, 0.5) : (run.seconds ?? 0), 0.001);
  const names = width < 520 ? 92 : 190;
  const room = Math.max(40, width - names - 64);
  const x = (at) => names + (Math.min(at, end) / end) * room;
  const rows = [...run.all()].filter(([call]) => call.started !== null);
  const path = critical(run);
  const on = new Set(path);
  const { marks, digits } = steps(end, room);
  const height = rows.length * ROW + 8;
  const order = new Map(rows.map(([call], i) => [call, i]));
  const joints = path.slice(1).map((call, i) => {
    const before = path[i];
    const from = [x(before.ended ?? end), order.get(before) * ROW + ROW / 2];
    const to = [x(call.started), order.get(call) * ROW + ROW / 2];
    return `M${from[0]} ${from[1]}V${to[1]}H${to[0]}`;
  });
  const told = path.length
    ? path.map((call) => `${short(call.model)} ${seconds((call.ended ?? end) - call.started)}`).join(" → ")
    : "";
  return html`<section class="axis panel" role="group" aria-label=${t("axis.title")}>
    <header>
      <h3>${t("axis.heading")}</h3>
      <p class="legend"><span><i class="key wait"></i>${t("axis.first")}</span><span><i class="key write"></i>${t("axis.writing")}</span><span><i class="key path"></i>${t("axis.path")}</span></p>
    </header>
    <div ref=${box} class="plot">
      <svg width=${width} height=${height + 22} role="img" aria-label=${t("axis.label", { n: rows.length, time: seconds(end), path: told })}>
        ${marks.map((at) => html`<g class="tick"><line x1=${x(at)} x2=${x(at)} y1="0" y2=${height} /><text x=${x(at)} y=${height + 15}>${at === marks[marks.length - 1] ? t("time.seconds", { n: fixed(at, digits) }) : fixed(at, digits)}</text></g>`)}
        ${joints.map((d) => html`<path class="joint" d=${d} />`)}
        ${rows.map(([call, depth], i) => html`<${Bar} key=${call.key + i} call=${call} run=${run} depth=${depth} y=${i * ROW} x=${x} end=${end} names=${names} critical=${on.has(call)} />`)}
      </svg>
    </div>
    ${told && html`<p class="pathtold"><b>${t("axis.path_told")}</b> ${told}</p>`}
  </section>`;
}

function Bar({ call, run, depth, y, x, end, names, critical: waited }) {
  const top = y + 6;
  const high = ROW - 12;
  const stop = call.ended ?? end;
  const first = call.first === null ? stop : Math.min(call.first, stop);
  const hue = call.role !== "proposer" && depth === 0 ? "ink" : `c${call.index % 8}`;
  const middle = y + ROW / 2;
  const letters = Math.floor((names - 34 - depth * 10) / 6.6);
  const name = short(call.model);
  return html`<g class="bar ${hue} ${call.state} ${waited ? "critical" : ""}" onClick=${() => (dialog.value = { kind: "call", run, call })}>
    <title>${t("axis.bar", { seat: seat(call), model: call.model, start: seconds(call.started), end: seconds(stop) })}</title>
    <rect class="hit" x="0" y=${y} width=${x(end) + 60} height=${ROW} />
    <text class="place" x=${depth * 10} y=${middle}>${signs[call.role] ?? `${call.layer}.${call.index + 1}`}</text>
    <text class="name" x=${26 + depth * 10} y=${middle}>${name.length > letters ? `${name.slice(0, letters - 1)}…` : name}</text>
    <rect class="wait" x=${x(call.started)} y=${top} width=${Math.max(1.5, x(first) - x(call.started))} height=${high} rx="3" />
    ${call.first !== null && html`<rect class="write" x=${x(first)} y=${top} width=${Math.max(1.5, x(stop) - x(first))} height=${high} rx="3" />`}
    ${call.begunAnew.map((again) => html`<line class="again" x1=${x(again.at)} x2=${x(again.at)} y1=${y + 3} y2=${y + ROW - 3} />`)}
    ${call.state === "failed" && html`<path class="cross" d=${`M${x(stop) - 4} ${middle - 4}l8 8m0 -8l-8 8`} />`}
    <text class="took" x=${x(stop) + 8} y=${middle}>${seconds(stop - call.started)}</text>
  </g>`;
}

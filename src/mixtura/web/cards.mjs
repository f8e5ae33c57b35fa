// The layers as the paper draws them: a row of proposers, all of them into ⊕, and on.
import { dialog, html, useClock, useRef, useWidth } from "./base.mjs";
import { dollars, fixed, percent, seconds } from "./format.mjs";
import { named, t } from "./language.mjs";
import { previewText } from "./preview.mjs";

const GAP = 12;
const LEAST = 150;

// How many cards stand in a row of *width* pixels.
function columns(cards, width) {
  if (width < 520) return 1;
  const most = Math.max(1, Math.floor((width + GAP) / (LEAST + GAP)));
  if (cards <= most) return Math.max(cards, 1);
  return Math.ceil(cards / Math.ceil(cards / most));
}

const centre = (i, n, width) => {
  const size = (width - GAP * (n - 1)) / n;
  return i * (size + GAP) + size / 2;
};

export function Layers({ run, chosen }) {
  run.tick.value;
  const box = useRef(null);
  const width = useWidth(box, 900);
  const rows = run.layers;
  const active = rows.findIndex((row) => row.some((call) => !call.over));
  return html`<div class="layers" ref=${box}>
    ${rows.map((row, i) => {
      const n = columns(row.length, width);
      const before = i ? columns(rows[i - 1].length, width) : 1;
      return html`
        <${Fan} key=${`fan${i}`} width=${width} from=${before} to=${n} above=${i ? rows[i - 1] : null} below=${row} first=${i === 0} />
        <section class="layer ${i === active && run.live ? "active" : row.every((call) => call.state === "waiting") ? "idle" : ""} ${n === 1 ? "stacked" : ""}" role="group" aria-label=${t("card.layer", { n: i + 1 })} data-columns=${n}>
          <h3 class="layername">${t("card.layer", { n: i + 1 })}<span>${t("proposers", { n: row.length })}</span></h3>
          <div class="cards n${n}">
            ${row.map((call) => html`<${Card} key=${call.key} call=${call} run=${run} chosen=${chosen} />`)}
          </div>
        </section>`;
    })}
    ${rows.length > 0 &&
    html`<${Fan} width=${width} from=${columns(rows[rows.length - 1].length, width)} to=${1} above=${rows[rows.length - 1]} below=${[run.answerCall]} />`}
  </div>`;
}

// A way down, across and down again, with round corners.
function way(x, top, lane, to, bottom = null) {
  const across = Math.abs(to - x);
  if (across < 1) return `M${x} ${top}V${bottom ?? lane}`;
  const r = Math.min(9, across / 2, lane - top);
  const side = to > x ? 1 : -1;
  const end = bottom === null ? `H${to}` : `H${to - side * r}Q${to} ${lane} ${to} ${lane + r}V${bottom}`;
  return `M${x} ${top}V${lane - r}Q${x} ${lane} ${x + side * r} ${lane}${end}`;
}

// The lines between two rows: every card has a lane of its own into ⊕, one way leads on from
// there. A lane is coloured when its proposal has come.
function Fan({ width, from, to, above, below, first = false }) {
  for (const call of [...(above ?? []), ...below]) call?.tick.value;
  const middle = Math.round(width / 2);
  const ring = 10;
  const half = Math.max(1, Math.floor(from / 2));
  const gap = half > 4 ? 2.6 : 4;
  const centreY = first ? 0 : 16 + half * gap;
  const height = first ? 38 : centreY + ring + (to > 1 ? 28 : 14);
  const lines = [];
  for (let i = 0; !first && i < from; i += 1) {
    const column = above.filter((_, j) => j % from === i);
    const x = Math.round(centre(i, from, width));
    const state = column.some((call) => call.state === "done") ? "done" : column.every((call) => call.state === "failed") ? "lost" : column.every((call) => call.over) ? "stopped" : "waiting";
    const hue = from === 1 && above.length > 1 ? "many" : `c${column[0].index % 8}`;
    const outer = x < middle ? half - 1 - i : i - (from - half);
    const lane = centreY + (outer - (half - 1) / 2) * gap;
    const d = Math.abs(x - middle) < 2 ? `M${middle} 0V${centreY - ring}` : way(x, 0, lane, middle);
    lines.push(html`<path class="line ${state} ${hue}" d=${d} />`);
  }
  for (let i = 0; i < to; i += 1) {
    const column = below.filter((_, j) => j % to === i);
    const asked = column.some((call) => call && call.state !== "waiting");
    const x = Math.round(centre(i, to, width));
    lines.push(html`<path class="line onward ${asked ? "done" : "waiting"}" d=${way(middle, first ? 0 : centreY + ring, height - 15, x, height)} />`);
  }
  const asked = below.some((call) => call && call.state !== "waiting");
  return html`<div class="fan" aria-hidden="true">
    <svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`}>${lines}
      ${!first && html`<circle class="ring ${asked ? "done" : ""}" cx=${middle} cy=${centreY} r=${ring} /><path class="cross" d=${`M${middle - 5} ${centreY}h10M${middle} ${centreY - 5}v10`} />`}
    </svg>
  </div>`;
}

export function seat(call) {
  if (call.role === "reporter") return t("card.reporter");
  if (call.role === "judge") return t("card.judge", { place: call.index + 1, layer: call.layer });
  return call.role === "aggregator" ? t("card.aggregator") : t("card.proposer", { place: call.index + 1, layer: call.layer });
}

export function Seat({ call }) {
  if (call.role === "aggregator") return html`<span class="seat ink" aria-hidden="true">⊕</span>`;
  if (call.role === "reporter") return html`<span class="seat ink" aria-hidden="true">≟</span>`;
  if (call.role === "judge") return html`<span class="seat ink" aria-hidden="true">≷</span>`;
  return html`<span class="seat c${call.index % 8}" aria-hidden="true">${t("card.draft", { place: `${call.layer > 1 || call.at.length > 1 ? `${call.layer}.` : ""}${call.index + 1}` })}</span>`;
}

// What a call did in numbers, as far as they are known.
export function Numbers({ call, run }) {
  call.tick.value;
  const at = useClock(call.live) - (run.began ?? 0);
  const speed = call.speed(call.live ? at : null);
  const wait = call.first !== null ? call.first - call.started : call.live ? Math.max(0, at - call.started) : null;
  const took = call.ended !== null ? call.ended - call.started : call.live ? Math.max(0, at - call.started) : null;
  if (call.state === "waiting" || call.started === null) return html`<span class="numbers"></span>`;
  return html`<span class="numbers">
    ${wait !== null && html`<span title=${t("card.first_title")}>${t(call.first === null && call.live ? "card.waits" : "card.first", { time: seconds(wait) })}</span>`}
    ${speed !== null && html`<span title=${t("card.speed_title")}>${t("card.speed", { speed: `${call.live ? "~" : ""}${fixed(speed, speed < 10 ? 1 : 0)}` })}</span>`}
    ${call.first !== null && html`<span title=${t("card.in_all_title")}>${t("card.in_all", { time: seconds(took) })}</span>`}
    ${call.over && call.cost !== undefined && html`<span title=${t(call.cost === null ? "card.no_price" : "card.cost")}>${call.cost === null ? t("cost.unknown_sign") : dollars(call.cost)}</span>`}
  </span>`;
}

// The upper edge fades where the text does not fit, so that no line is seen by half.
function fades(box) {
  requestAnimationFrame(() => {  // once it has its place on the page
    const text = box?.firstElementChild;
    if (text) box.classList.toggle("full", text.offsetHeight > box.clientHeight);
  });
}

// What goes on in a mixture that sits in a seat, before it says a word.
function Inside({ call }) {
  for (const inner of call.calls) inner.tick.value;
  const there = call.calls.filter((inner) => inner.over).length;
  return html`<span class="inner">
    <span class="dots">${call.calls.map((inner) => html`<i class="c${inner.index % 8} ${inner.state}"></i>`)}</span>
    <span class="dim">${t("card.inside", { there, n: call.calls.length })}</span>
  </span>`;
}

export function Card({ call, run }) {
  call.tick.value;
  const failed = call.state === "failed";
  const last = call.begunAnew[call.begunAnew.length - 1];
  const text = call.text || call.thoughts;
  const likeness = call.similarity?.tfidf;
  run.tick.value;
  const left = call.state === "waiting" && !run.live; // the run is over without it
  const word = left ? t("card.not_asked") : named("state", call.state);
  const state = call.state === "asked" ? t("heard.asked") : word;
  const told = t(failed ? "card.told_failed" : "card.told", { seat: seat(call), model: call.model, state, error: call.error });
  return html`<button type="button" class="card ${call.state} c${call.index % 8}" aria-label=${told} data-key=${call.key}
    onClick=${() => (dialog.value = { kind: "call", run, call })}>
    <span class="cardhead" aria-hidden="true">
      <${Seat} call=${call} />
      <span class="grow"></span>
      ${call.restarts > 0 && html`<span class="tag" title=${last?.error ?? t("card.anew")}>${t(call.restarts > 1 ? "card.anew_times" : "card.anew", { n: call.restarts })}</span>`}
      ${call.calls.length > 0 && html`<span class="tag">${t("card.mixture", { n: call.calls.length })}</span>`}
      ${call.state === "done" && likeness !== undefined && likeness !== null
        ? html`<span class="likeness" title=${t("card.alike_title")}><i data-tenths=${Math.round(likeness * 10)}></i>${t("card.alike", { percent: percent(likeness) })}</span>`
        : html`<span class="stateword ${call.state}">${call.live && html`<i class="dot ${call.state}"></i>`}${word}</span>`}
    </span>
    <span class="model" title=${call.model}>${call.model}</span>
    <span ref=${(box) => fades(box)} aria-hidden="true" class="glance ${call.live ? "tail" : ""} ${!call.text && call.thoughts ? "thoughts" : ""}">
      ${failed
        ? html`<span class="why"><b>${call.errorName ?? t("state.failed")}</b> <span lang="en">${call.error}</span></span>`
        : text
          ? html`<span dir="auto">${previewText(text, call.live)}</span>`
          : call.live && last
            ? html`<span class="dim">${t(last.error ? "card.began_anew_why" : "card.began_anew", { why: last.error })}</span>`
            : call.live && call.calls.length
              ? html`<${Inside} call=${call} />`
            : call.live
              ? html`<span class="ghost"><i></i><i></i><i></i></span>`
              : null}
    </span>
    <span class="cardfoot" aria-hidden="true">
      <${Numbers} call=${call} run=${run} />
    </span>
  </button>`;
}

// A call, opened: its whole answer, what it was shown, and what of it is in the final answer.
import { copy, dialog, html, Icon, useEffect, useMemo, useRef, useState } from "./base.mjs";
import { dollars, fixed, number, percent, seconds } from "./format.mjs";
import { named, pieces, t } from "./language.mjs";
import { Prose } from "./markdown.mjs";
import { mark } from "./sentence_sources.mjs";
import { Seat, seat } from "./cards.mjs";
import { said } from "./run.mjs";

// A dialog of the browser's own: it keeps the focus inside, Escape closes it, focus goes back.
export function Sheet({ title, kind = "", close, children }) {
  const box = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    if (!box.current.open) box.current.showModal();
    return () => document.activeElement === document.body && before?.isConnected && before.focus?.({ preventScroll: true });
  }, []);
  return html`<dialog ref=${box} class="sheet ${kind}" aria-label=${title} onClose=${close}
    onClick=${(event) => event.target === box.current && box.current.close()}>${children}</dialog>`;
}

const tabs = ["answer", "shown", "overlap"];

export function Details({ run, call, hand: Hand = null }) {
  run.tick.value;
  call.tick.value;
  const [tab, setTab] = useState("answer");
  const which = run.sources.indexOf(call);
  const close = () => (dialog.value = null);
  const open = tabs.filter((name) => name !== "overlap" || call.role === "proposer");
  const keys = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = open.indexOf(tab);
    const next = open[(at + step + open.length) % open.length];
    setTab(next);
    event.currentTarget.querySelector(`#tab-${next}`)?.focus();
  };
  return html`<${Sheet} title=${t("details.title", { seat: seat(call), model: call.model })} kind="drawer" close=${close}>
    <header class="sheethead c${call.index % 8}">
      <${Seat} call=${call} />
      <div><h2>${call.model}</h2><p class="dim">${seat(call)}</p></div>
      <button type="button" class="quiet icon-only" aria-label=${t("close")} onClick=${(event) => event.currentTarget.closest("dialog").close()}><${Icon} name="close" /></button>
    </header>
    <${Facts} call=${call} />
    ${Hand && html`<${Hand} run=${run} call=${call} />`}
    <div class="tabs" role="tablist" aria-label=${t("details.about")} onKeyDown=${keys}>
      ${open.map((name) => html`<button type="button" role="tab" id=${`tab-${name}`} aria-selected=${tab === name} aria-controls="tabpanel" tabindex=${tab === name ? 0 : -1} onClick=${() => setTab(name)}>${t(`details.${name}`)}</button>`)}
    </div>
    <div class="sheetbody" role="tabpanel" id="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="0">
      ${tab === "answer" && html`<${Whole} call=${call} run=${run} />`}
      ${tab === "shown" && html`<${Shown} call=${call} run=${run} />`}
      ${tab === "overlap" && html`<${Overlap} call=${call} run=${run} which=${which} />`}
    </div>
  <//>`;
}

function Facts({ call }) {
  const usage = call.usage;
  const speed = call.speed();
  const rows = [
    [t("details.first"), call.first === null ? "–" : seconds(call.first - call.started)],
    [t("details.in_all"), call.ended === null || call.started === null ? "–" : seconds(call.ended - call.started)],
    [t("details.speed"), speed === null ? "–" : fixed(speed, 1)],
    [t("details.read"), usage ? t("details.tokens", { n: number(usage.prompt_tokens) }) : "–"],
    [t("details.wrote"), usage ? t("details.tokens", { n: `${usage.estimated ? "~" : ""}${number(usage.completion_tokens)}` }) : "–"],
    [t("details.cost"), call.cost === undefined ? "–" : dollars(call.cost)],
  ];
  return html`<dl class="facts">${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function begun({ at, error, wait }) {
  const anew = t(error ? "details.anew_why" : "details.anew", { time: seconds(at), why: error });
  return wait ? t("details.anew_wait", { anew, time: seconds(wait) }) : anew;
}

function Whole({ call, run }) {
  return html`
    ${call.error && html`<p class="problem"><${Icon} name="warn" /><span><b>${call.errorName ?? t("state.failed")}</b> <span lang="en">${call.error}</span></span></p>`}
    ${call.begunAnew.map((again) => html`<p class="note">${begun(again)}</p>`)}
    ${call.begunAnew.length === 0 && call.restarts > 0 && html`<p class="note">${t("details.anew_times", { times: t("times", { n: call.restarts }) })}</p>`}
    ${call.notices.map((notice) => html`<p class="note" lang="en">${notice}</p>`)}
    ${call.sources.length > 0 &&
    html`<details class="thoughtbox"><summary>${t("details.sources", { pages: t("pages", { n: call.sources.length }) })}</summary>
      <ul>${call.sources.map((page) => html`<li>${page.title} <code>${page.url}</code></li>`)}</ul></details>`}
    ${call.replaced.length > 0 &&
    html`<details class="thoughtbox"><summary>${t("details.hidden", { items: t("items", { n: call.replaced.length }) })}</summary>
      <dl class="facts">${call.replaced.map((item) => html`<div><dt>${item.placeholder}</dt><dd>${item.text}</dd></div>`)}</dl></details>`}
    ${call.finish === "length" && html`<p class="note">${t("details.cut")}</p>`}
    ${call.thoughts && html`<details class="thoughtbox"><summary>${t("details.thoughts")}</summary><div class="plain">${call.thoughts}</div></details>`}
    ${call.text
      ? html`<div class="bar-actions"><button type="button" class="quiet small" onClick=${() => copy(call.text)}><${Icon} name="copy" />${t("copy")}</button></div>
          <${Prose} text=${call.text} live=${call.live} label=${t("details.answer_of", { model: call.model })} />`
      : !call.error && html`<p class="dim">${t("details.no_word")}</p>`}
    ${call.calls.length > 0 &&
    html`<h3 class="inside">${t("details.inside")}</h3>
      ${call.calls.map((inner) => html`<button type="button" class="row" onClick=${() => (dialog.value = { kind: "call", run, call: inner })}><${Seat} call=${inner} /><span class="model">${inner.model}</span><span class="dim">${named("state", inner.state)}</span></button>`)}`}`;
}

function Shown({ call, run }) {
  if (!call.request) {
    return html`<p class="dim">${t(run.live ? "details.request_later" : "details.request_none")}</p>`;
  }
  const { messages = [], ...rest } = call.request;
  const body = JSON.stringify(call.request, null, 2);
  return html`
    <div class="bar-actions"><button type="button" class="quiet small" onClick=${() => copy(body)}><${Icon} name="copy" />${t("details.copy_json")}</button></div>
    ${messages.map((message) => html`<article class="message ${message.role}"><h3>${named("role", message.role)}</h3><pre tabindex="0">${said(message)}</pre></article>`)}
    <article class="message"><h3>${t("details.rest")}</h3><pre tabindex="0">${JSON.stringify(rest, null, 2)}</pre></article>`;
}

function Meter({ name, value, hint }) {
  return html`<div class="meter" title=${hint}><span>${name}</span><progress max="1" value=${value} aria-label=${name}></progress><b>${percent(value)}</b></div>`;
}

function marked(call, score) {
  const element = document.createElement("mark");
  element.className = `from c${call.index % 8}`;
  element.title = t("details.part", { percent: percent(score) });
  return element;
}

function Overlap({ call, run, which }) {
  const traced = useMemo(() => (run.sentences ?? []).map(({ text, from }) => ({ text, from: from.filter((one) => one.call === which) })), [run.sentences]);
  const after = useMemo(() => (root) => mark(root, traced, ({ from }) => marked(call, from[0].score)), [traced]);
  if (!call.similarity && (which < 0 || !run.sentences)) {
    return html`<p class="dim">${t(run.live ? "details.later" : "details.nothing")}</p>`;
  }
  const mine = (run.sentences ?? []).filter((sentence) => sentence.from.some((from) => from.call === which));
  return html`
    ${call.similarity && html`<${Meter} name=${t("details.any_order")} value=${call.similarity.tfidf} hint=${t("details.any_order_hint")} />
      <${Meter} name=${t("details.in_order")} value=${call.similarity.levenshtein} hint=${t("details.in_order_hint")} />`}
    ${which < 0
      ? html`<p class="note">${t("details.last_layer")}</p>`
      : html`<p class="counted">${pieces("details.counted", { some: html`<b>${mine.length}</b>`, sentences: t("sentences", { n: run.sentences?.length ?? 0 }) })}</p>
          <div class="traced"><${Prose} text=${run.answer} after=${after} label=${t("details.traced")} /></div>`}
    <p class="note">${t("details.caution")}</p>`;
}

// A link of a model's: nothing is opened before its whole address was seen.
export function Link({ url, image }) {
  const host = new URL(url).host || new URL(url).protocol;
  return html`<${Sheet} title=${t("link.title")} kind="small" close=${() => (dialog.value = null)}>
    <h2>${t(image ? "link.show" : "link.open")}</h2>
    <p>${pieces(image ? "link.leads_image" : "link.leads", { host: html`<b>${host}</b>` })}</p>
    <p class="address">${url}</p>
    <div class="actions">
      <button type="button" class="quiet" onClick=${() => copy(url, t("link.copied"))}>${t("copy")}</button>
      <span class="grow"></span>
      <button type="button" class="quiet" autofocus onClick=${(event) => event.currentTarget.closest("dialog").close()}>${t("cancel")}</button>
      <a class="button primary" href=${url} target="_blank" rel="noopener noreferrer" onClick=${(event) => event.currentTarget.closest("dialog").close()}>${t("link.tab")}</a>
    </div>
  <//>`;
}

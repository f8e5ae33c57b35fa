// A call, opened: its whole answer, what it was shown, and what of it is in the final answer.
import { copy, dialog, html, Icon, useEffect, useMemo, useRef, useState } from "./base.mjs";
import { count, dollars, number, percent, seconds } from "./format.mjs";
import { Prose } from "./markdown.mjs";
import { mark } from "./marks.mjs";
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

const tabs = [
  ["answer", "Answer"],
  ["shown", "What it was shown"],
  ["overlap", "In the final answer"],
];

export function Details({ run, call, hand: Hand = null }) {
  run.tick.value;
  call.tick.value;
  const [tab, setTab] = useState("answer");
  const which = run.sources.indexOf(call);
  const close = () => (dialog.value = null);
  const open = tabs.filter(([name]) => name !== "overlap" || call.role === "proposer");
  const keys = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = open.findIndex(([name]) => name === tab);
    const next = open[(at + step + open.length) % open.length][0];
    setTab(next);
    event.currentTarget.querySelector(`#tab-${next}`)?.focus();
  };
  return html`<${Sheet} title=${`${seat(call)}: ${call.model}`} kind="drawer" close=${close}>
    <header class="sheethead c${call.index % 8}">
      <${Seat} call=${call} />
      <div><h2>${call.model}</h2><p class="dim">${seat(call)}</p></div>
      <button type="button" class="quiet icon-only" aria-label="Close" onClick=${(event) => event.currentTarget.closest("dialog").close()}><${Icon} name="close" /></button>
    </header>
    <${Facts} call=${call} />
    ${Hand && html`<${Hand} run=${run} call=${call} />`}
    <div class="tabs" role="tablist" aria-label="About this call" onKeyDown=${keys}>
      ${open.map(([name, title]) => html`<button type="button" role="tab" id=${`tab-${name}`} aria-selected=${tab === name} aria-controls="tabpanel" tabindex=${tab === name ? 0 : -1} onClick=${() => setTab(name)}>${title}</button>`)}
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
    ["First token", call.first === null ? "–" : seconds(call.first - call.started)],
    ["In all", call.ended === null || call.started === null ? "–" : seconds(call.ended - call.started)],
    ["Tokens a second", speed === null ? "–" : speed.toFixed(1)],
    ["Read", usage ? `${number(usage.prompt_tokens)} tok` : "–"],
    ["Wrote", usage ? `${usage.estimated ? "~" : ""}${number(usage.completion_tokens)} tok` : "–"],
    ["Cost", call.cost === undefined ? "–" : dollars(call.cost)],
  ];
  return html`<dl class="facts">${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Whole({ call, run }) {
  return html`
    ${call.error && html`<p class="problem"><${Icon} name="warn" /><span><b>${call.errorType}</b> ${call.error}</span></p>`}
    ${call.begunAnew.map((again) => html`<p class="note">Begun anew at ${seconds(again.at)}${again.error ? `: ${again.error}` : ""}${again.wait ? `, after a wait of ${seconds(again.wait)}` : ""}</p>`)}
    ${call.begunAnew.length === 0 && call.restarts > 0 && html`<p class="note">Begun anew ${count(call.restarts, "time")}</p>`}
    ${call.notices.map((notice) => html`<p class="note">${notice}</p>`)}
    ${call.sources.length > 0 &&
    html`<details class="thoughtbox"><summary>Its sources (${count(call.sources.length, "page")})</summary>
      <ul>${call.sources.map((page) => html`<li>${page.title} <code>${page.url}</code></li>`)}</ul></details>`}
    ${call.replaced.length > 0 &&
    html`<details class="thoughtbox"><summary>What it was not shown (${count(call.replaced.length, "item")}, kept on this machine)</summary>
      <dl class="facts">${call.replaced.map((item) => html`<div><dt>${item.placeholder}</dt><dd>${item.text}</dd></div>`)}</dl></details>`}
    ${call.finish === "length" && html`<p class="note">It was cut at its limit of tokens.</p>`}
    ${call.thoughts && html`<details class="thoughtbox"><summary>Its thoughts</summary><div class="plain">${call.thoughts}</div></details>`}
    ${call.text
      ? html`<div class="bar-actions"><button type="button" class="quiet small" onClick=${() => copy(call.text)}><${Icon} name="copy" />Copy</button></div>
          <${Prose} text=${call.text} live=${call.live} label=${`Answer of ${call.model}`} />`
      : !call.error && html`<p class="dim">No word yet.</p>`}
    ${call.calls.length > 0 &&
    html`<h3 class="inside">Inside this mixture</h3>
      ${call.calls.map((inner) => html`<button type="button" class="row" onClick=${() => (dialog.value = { kind: "call", run, call: inner })}><${Seat} call=${inner} /><span class="model">${inner.model}</span><span class="dim">${inner.state}</span></button>`)}`}`;
}

function Shown({ call, run }) {
  if (!call.request) {
    return html`<p class="dim">${run.live ? "The exact request is in the record, which is there when the run has ended." : "This run was not recorded, so the exact request is not known here."}</p>`;
  }
  const { messages = [], ...rest } = call.request;
  const body = JSON.stringify(call.request, null, 2);
  return html`
    <div class="bar-actions"><button type="button" class="quiet small" onClick=${() => copy(body)}><${Icon} name="copy" />Copy as JSON</button></div>
    ${messages.map((message) => html`<article class="message ${message.role}"><h3>${message.role}</h3><pre tabindex="0">${said(message)}</pre></article>`)}
    <article class="message"><h3>everything else</h3><pre tabindex="0">${JSON.stringify(rest, null, 2)}</pre></article>`;
}

function Meter({ name, value, hint }) {
  return html`<div class="meter" title=${hint}><span>${name}</span><progress max="1" value=${value} aria-label=${name}></progress><b>${percent(value)}</b></div>`;
}

function marked(call, score) {
  const element = document.createElement("mark");
  element.className = `from c${call.index % 8}`;
  element.title = `${percent(score)} of it stands here`;
  return element;
}

function Overlap({ call, run, which }) {
  const traced = useMemo(() => (run.sentences ?? []).map(({ text, from }) => ({ text, from: from.filter((one) => one.call === which) })), [run.sentences]);
  const after = useMemo(() => (root) => mark(root, traced, ({ from }) => marked(call, from[0].score)), [traced]);
  if (!call.similarity && (which < 0 || !run.sentences)) {
    return html`<p class="dim">${run.live ? "Known when the answer is there." : "There is nothing to compare: no answer, or no record of it."}</p>`;
  }
  const mine = (run.sentences ?? []).filter((sentence) => sentence.from.some((from) => from.call === which));
  return html`
    ${call.similarity && html`<${Meter} name="Words, in any order" value=${call.similarity.tfidf} hint="Cosine of the TF-IDF vectors of both texts" />
      <${Meter} name="Words, in their order" value=${call.similarity.levenshtein} hint="One less the word edits between both texts" />`}
    ${which < 0
      ? html`<p class="note">Sentences are traced to the last layer of proposers only; this draft reached the answer through them.</p>`
      : html`<p class="counted"><b>${mine.length}</b> of ${count(run.sentences?.length ?? 0, "sentence")} of the answer stand here, more or less.</p>
          <div class="traced"><${Prose} text=${run.answer} after=${after} label="The answer, with what stands in this draft" /></div>`}
    <p class="note">As far as the overlap of words tells: who wrote a thought first, it cannot know.</p>`;
}

// A link of a model's: nothing is opened before its whole address was seen.
export function Link({ url, image }) {
  const host = new URL(url).host || new URL(url).protocol;
  return html`<${Sheet} title="Open a link" kind="small" close=${() => (dialog.value = null)}>
    <h2>${image ? "Show this image?" : "Open this link?"}</h2>
    <p>A model wrote this address. It leads to <b>${host}</b>${image ? ", which will know that you looked" : ""}.</p>
    <p class="address">${url}</p>
    <div class="actions">
      <button type="button" class="quiet" onClick=${() => copy(url, "Address copied")}>Copy</button>
      <span class="grow"></span>
      <button type="button" class="quiet" autofocus onClick=${(event) => event.currentTarget.closest("dialog").close()}>Cancel</button>
      <a class="button primary" href=${url} target="_blank" rel="noopener noreferrer" onClick=${(event) => event.currentTarget.closest("dialog").close()}>Open in a new tab</a>
    </div>
  <//>`;
}

// Past conversations: found by their words, reopened as they went, deleted.
import { dialog, html, Icon, useEffect, useRef } from "./base.mjs";
import { clock, day, dollars } from "./format.mjs";
import { named, pieces, t } from "./language.mjs";
import { conversation } from "./conversation.mjs";
import { current, list, remove, reopen, runs, search, setup } from "./page_state.mjs";
import { Sheet } from "./call_details.mjs";

let timer;
function wanted(text) {
  search.value = text;
  clearTimeout(timer);
  timer = setTimeout(() => list(), 180);
}

export function Runs({ chosen }) {
  const { rows, more, loading, error } = runs.value;
  if (!setup.value) return null;
  if (!setup.value.runs) return html`<p class="hintline">${pieces("runs.none_kept", { setting: html`<code>[runs] keep = false</code>` })}</p>`;
  const days = new Map();
  for (const row of rows) {
    const name = day(row.updated);
    if (!days.has(name)) days.set(name, []);
    days.get(name).push(row);
  }
  return html`<div class="runs">
    <div class="searchbox"><${Icon} name="search" /><label class="sr" for="search">${t("runs.search_label")}</label>
      <input id="search" type="search" placeholder=${t("runs.search")} value=${search.value} autocomplete="off" onInput=${(event) => wanted(event.target.value)} /><kbd aria-hidden="true">${/Mac|iP/.test(navigator.platform) ? "⌘ K" : t("keys.search")}</kbd></div>
    <nav aria-label=${t("runs.list")} aria-busy=${loading}>
      ${error && html`<p class="hintline">${error}</p>`}
      ${!rows.length && !loading && !error && html`<p class="hintline">${t(search.value ? "runs.nothing" : "runs.empty")}</p>`}
      ${[...days].map(([name, some]) => html`<section><h2>${name}</h2><ul>
        ${some.map((row) => html`<li key=${row.id} class=${shown(row) ? "current" : ""}>
          <a href=${`#run/${row.run}`} aria-current=${shown(row) ? "page" : undefined} onClick=${(event) => { event.preventDefault(); reopen(row.run); chosen?.(); }}>
            <span class="q" dir="auto">${row.title || t("no_words")}</span>
            <span class="m"><i class="dot ${row.state}" title=${named("state", row.state)}></i>${row.state === "answered" ? "" : html`<span>${named("state", row.state)}</span>`}<span>${clock(row.updated)}</span>${row.turns > 1 && html`<span>${t("turns", { n: row.turns })}</span>`}<span>${row.cost_usd === null ? t("cost.unknown_sign") : dollars(row.cost_usd)}</span></span>
          </a>
          <button type="button" class="quiet icon-only" aria-label=${t("runs.delete_one", { title: row.title.slice(0, 60) })} onClick=${() => (dialog.value = { kind: "delete", row })}><${Icon} name="trash" /></button>
        </li>`)}
      </ul></section>`)}
      ${more && html`<button type="button" class="quiet small more" disabled=${loading} onClick=${() => list(true)}>${t("runs.older")}</button>`}
    </nav>
  </div>`;
}

const shown = (row) => conversation.value?.id === row.id || current.value?.id === row.run;

export function Delete({ row }) {
  return html`<${Sheet} title=${t("runs.delete_title")} kind="small" close=${() => (dialog.value = null)}>
    <h2>${t("runs.delete_ask")}</h2>
    <p class="cut">${t("runs.delete_named", { title: row.title })}</p>
    <p class="dim">${t("runs.delete_told", { n: row.turns, day: day(row.started) })}</p>
    <div class="actions"><span class="grow"></span>
      <button type="button" class="quiet" autofocus onClick=${(event) => event.currentTarget.closest("dialog").close()}>${t("cancel")}</button>
      <button type="button" class="button danger" onClick=${(event) => { remove(row.id); event.currentTarget.closest("dialog").close(); }}>${t("delete")}</button>
    </div>
  <//>`;
}

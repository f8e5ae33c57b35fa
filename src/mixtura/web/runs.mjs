// Past conversations: found by their words, reopened as they went, deleted.
import { dialog, html, Icon, useEffect, useRef } from "./base.mjs";
import { clock, count, day, dollars } from "./format.mjs";
import { conversation } from "./conversation.mjs";
import { current, list, remove, reopen, runs, search, setup } from "./state.mjs";
import { Sheet } from "./details.mjs";

let timer;
function wanted(text) {
  search.value = text;
  clearTimeout(timer);
  timer = setTimeout(() => list(), 180);
}

export function Runs({ chosen }) {
  const { rows, more, loading, error } = runs.value;
  if (!setup.value) return null;
  if (!setup.value.runs) return html`<p class="hintline">Runs are not kept here: <code>[runs] keep = false</code>.</p>`;
  const days = new Map();
  for (const row of rows) {
    const name = day(row.updated);
    if (!days.has(name)) days.set(name, []);
    days.get(name).push(row);
  }
  return html`<div class="runs">
    <div class="searchbox"><${Icon} name="search" /><label class="sr" for="search">Search past conversations</label>
      <input id="search" type="search" placeholder="Search conversations" value=${search.value} autocomplete="off" onInput=${(event) => wanted(event.target.value)} /><kbd aria-hidden="true">${/Mac|iP/.test(navigator.platform) ? "⌘ K" : "Ctrl K"}</kbd></div>
    <nav aria-label="Past conversations" aria-busy=${loading}>
      ${error && html`<p class="hintline">${error}</p>`}
      ${!rows.length && !loading && !error && html`<p class="hintline">${search.value ? "Nothing found." : "What you ask will be listed here."}</p>`}
      ${[...days].map(([name, some]) => html`<section><h2>${name}</h2><ul>
        ${some.map((row) => html`<li key=${row.id} class=${shown(row) ? "current" : ""}>
          <a href=${`#run/${row.run}`} aria-current=${shown(row) ? "page" : undefined} onClick=${(event) => { event.preventDefault(); reopen(row.run); chosen?.(); }}>
            <span class="q" dir="auto">${row.title || "(no words)"}</span>
            <span class="m"><i class="dot ${row.state}" title=${row.state}></i>${row.state === "answered" ? "" : html`<span>${row.state}</span>`}<span>${clock(row.updated)}</span>${row.turns > 1 && html`<span>${count(row.turns, "turn")}</span>`}<span>${row.cost_usd === null ? "$?" : dollars(row.cost_usd)}</span></span>
          </a>
          <button type="button" class="quiet icon-only" aria-label=${`Delete the conversation: ${row.title.slice(0, 60)}`} onClick=${() => (dialog.value = { kind: "delete", row })}><${Icon} name="trash" /></button>
        </li>`)}
      </ul></section>`)}
      ${more && html`<button type="button" class="quiet small more" disabled=${loading} onClick=${() => list(true)}>Older ones</button>`}
    </nav>
  </div>`;
}

const shown = (row) => conversation.value?.id === row.id || current.value?.id === row.run;

export function Delete({ row }) {
  return html`<${Sheet} title="Delete a conversation" kind="small" close=${() => (dialog.value = null)}>
    <h2>Delete this conversation?</h2>
    <p class="cut">“${row.title}”</p>
    <p class="dim">${count(row.turns, "turn")} of it with all their drafts, begun ${day(row.started)}. It cannot be brought back.</p>
    <div class="actions"><span class="grow"></span>
      <button type="button" class="quiet" autofocus onClick=${(event) => event.currentTarget.closest("dialog").close()}>Cancel</button>
      <button type="button" class="button danger" onClick=${(event) => { remove(row.id); event.currentTarget.closest("dialog").close(); }}>Delete</button>
    </div>
  <//>`;
}

// From "no key is set" to a first answer: a key entered, a server found, the starter downloaded.
import { dialog, html, Icon, signal, useEffect, useState, tell } from "./base.mjs";
import { call } from "./access.mjs";
import { Sheet } from "./call_details.mjs";
import { megabytes } from "./format.mjs";
import { pieces, t } from "./language.mjs";
import { enter, replan } from "./page_state.mjs";
import { key as clientKey } from "./access.mjs";

const start = signal(null); // what the server says of keys, servers and the starter

async function look() {
  try {
    start.value = await (await call("/api/start")).json();
  } catch (error) {
    start.value = { error: error.message };
  }
}

// There may be other mixtures now: ask what there is anew.
async function again() {
  await enter(clientKey.value);
  replan();
  await look();
}

function KeyForm({ known, wanted }) {
  const all = known.keys.filter((row) => row.provider || row.variable === wanted);
  const [variable, choose] = useState(wanted ?? all.find((row) => !row.set)?.variable ?? all[0]?.variable);
  const [said, put] = useState(null);
  const chosen = all.find((row) => row.variable === variable);
  const send = async (event) => {
    event.preventDefault();
    const { text, save } = event.currentTarget.elements;
    put(null);
    try {
      await call("/api/keys", { method: "POST", body: { variable, key: text.value.trim(), save: Boolean(save?.checked) } });
      text.value = ""; // it is never shown again
      await again();
      put({ good: true, text: t(save?.checked ? "start.set_saved" : "start.set", { variable }) });
      tell(t("start.in_use"));
    } catch (error) {
      put({ text: error.message });
    }
  };
  if (known.refused) return html`<p class="note" lang="en">${known.refused}.</p>`;
  return html`<form class="keyform" onSubmit=${send}>
    <label>${t("start.provider")}
      <select value=${variable} onChange=${(event) => choose(event.target.value)}>${all.map((row) => html`<option value=${row.variable}>${row.set ? t("start.is_set", { provider: row.provider ?? row.variable }) : (row.provider ?? row.variable)}</option>`)}</select></label>
    <label><span>${pieces("start.api_key", { variable: html`<code>${variable}</code>` })}</span>
      <input name="text" type="password" required minlength="8" autocomplete="off" spellcheck=${false} /></label>
    ${known.saves_to && html`<label class="check"><input name="save" type="checkbox" /> ${t("start.save_in", { file: known.saves_to })}</label>`}
    <button type="submit" class="button primary">${t(chosen?.set ? "start.use_instead" : "start.use")}</button>
    ${said && html`<p class=${said.good ? "note good" : "problem"} role="status">${said.text}</p>`}
  </form>`;
}

function Servers({ known }) {
  if (!known.servers.length) return html`<p class="note">${t("start.no_server")}</p>`;
  return html`<ul class="found">${known.servers.map((one) => html`<li>${pieces("start.found", { server: html`<b>${one.title}</b>`, address: one.base_url, models: one.models.length ? t("start.found_models", { models: t("models", { n: one.models.length }), names: `${one.models.slice(0, 4).join(", ")}${one.models.length > 4 ? " …" : ""}` }) : t("start.no_model") })}</li>`)}</ul>`;
}

function Starter({ known }) {
  const { models, bytes: missing, state, label, done_bytes: done, total_bytes: total, error } = known.starter;
  useEffect(() => {
    if (state !== "running") return undefined;
    const timer = setInterval(async () => {
      const told = await (await call("/api/starter")).json().catch(() => null);
      if (!told) return;
      start.value = { ...start.value, starter: { ...start.value.starter, ...told } };
      if (told.state === "done") again();
    }, 700);
    return () => clearInterval(timer);
  }, [state]);
  const begin = async () => {
    try {
      await call("/api/starter", { method: "POST", body: {} });
      start.value = { ...start.value, starter: { ...start.value.starter, state: "running", error: null } };
    } catch (failure) {
      tell(failure.message);
    }
  };
  if (state === "running") {
    return html`<p class="note" role="status">${t("start.progress", { what: label || t("start.beginning"), done: megabytes(done), all: megabytes(total) })}</p><progress max=${Math.max(total, 1)} value=${done} aria-label=${t("start.download_label")}></progress>`;
  }
  if (!missing) return html`<p class="note good">${t("start.here", { names: models.join(", ") })}</p>`;
  return html`<p class="note">${t("start.offer", { names: models.join(", "), size: megabytes(missing) })}</p>
    ${error && html`<p class="problem" role="alert"><${Icon} name="warn" /><span>${error}</span></p>`}
    ${!known.refused && html`<button type="button" class="button" onClick=${begin}>${t(error ? "start.try_again" : "start.download")}</button>`}`;
}

export function FirstRun({ wanted }) {
  useEffect(() => void look(), []);
  const known = start.value;
  return html`<${Sheet} title=${t("set_up")} kind="small firstrun" close=${() => (dialog.value = null)}>
    <h2>${t("set_up")}</h2>
    ${!known && html`<p class="note" role="status">${t("start.looking")}</p>`}
    ${known?.error && html`<p class="problem"><${Icon} name="warn" /><span>${known.error}</span></p>`}
    ${known && !known.error && html`
      <section><h3>${t("start.key")}</h3><${KeyForm} key=${wanted} known=${known} wanted=${wanted} /></section>
      <section><h3>${t("start.server")}</h3><${Servers} known=${known} /><button type="button" class="quiet small" onClick=${again}>${t("start.again")}</button></section>
      <section><h3>${t("start.models")}</h3><${Starter} known=${known} /></section>`}
    <div class="actions"><span class="grow"></span><button type="button" class="button" onClick=${(event) => event.currentTarget.closest("dialog").close()}>${t("done")}</button></div>
  <//>`;
}

// The button that opens it; *wanted*: the variable of the key that is missing.
export function SetUp({ wanted, children }) {
  return html`<button type="button" class="button setup" onClick=${() => (dialog.value = { kind: "start", wanted })}>${children}</button>`;
}

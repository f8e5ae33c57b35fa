// From "no key is set" to a first answer: a key entered, a server found, the starter downloaded.
import { dialog, html, Icon, signal, useEffect, useState, tell } from "./base.mjs";
import { call } from "./access.mjs";
import { Sheet } from "./details.mjs";
import { count } from "./format.mjs";
import { enter, replan } from "./state.mjs";
import { key as clientKey } from "./access.mjs";

const start = signal(null); // what the server says of keys, servers and the starter
const bytes = (value) => (value >= 1e9 ? `${(value / 1e9).toFixed(1)} GB` : `${Math.round(value / 1e6)} MB`);

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
      put({ good: true, text: `${variable} is set${save?.checked ? " and saved" : ", until this server ends"}.` });
      tell("The key is in use");
    } catch (error) {
      put({ text: error.message });
    }
  };
  if (known.refused) return html`<p class="note">${known.refused}.</p>`;
  return html`<form class="keyform" onSubmit=${send}>
    <label>Provider
      <select value=${variable} onChange=${(event) => choose(event.target.value)}>${all.map((row) => html`<option value=${row.variable}>${row.provider ?? row.variable}${row.set ? " (set)" : ""}</option>`)}</select></label>
    <label>API key, as <code>${variable}</code>
      <input name="text" type="password" required minlength="8" autocomplete="off" spellcheck=${false} /></label>
    ${known.saves_to && html`<label class="check"><input name="save" type="checkbox" /> Save it in ${known.saves_to}, which only you can read</label>`}
    <button type="submit" class="button primary">${chosen?.set ? "Use this one instead" : "Use this key"}</button>
    ${said && html`<p class=${said.good ? "note good" : "problem"} role="status">${said.text}</p>`}
  </form>`;
}

function Servers({ known }) {
  if (!known.servers.length) return html`<p class="note">No Ollama, LM Studio or llama.cpp answers on this machine. Start one, and look again.</p>`;
  return html`<ul class="found">${known.servers.map((one) => html`<li><b>${one.title}</b> at ${one.base_url}: ${one.models.length ? `${count(one.models.length, "model")}, ${one.models.slice(0, 4).join(", ")}${one.models.length > 4 ? " …" : ""}` : "no model yet"}</li>`)}</ul>`;
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
    return html`<p class="note" role="status">${label || "Beginning"}: ${bytes(done)} of ${bytes(total)}</p><progress max=${Math.max(total, 1)} value=${done} aria-label="Download of the starter models"></progress>`;
  }
  if (!missing) return html`<p class="note good">They are here: ${models.join(", ")}.</p>`;
  return html`<p class="note">${models.join(", ")}: free, on this machine, no key. A download of ${bytes(missing)}.</p>
    ${error && html`<p class="problem" role="alert"><${Icon} name="warn" /><span>${error}</span></p>`}
    ${!known.refused && html`<button type="button" class="button" onClick=${begin}>${error ? "Try again" : "Download them"}</button>`}`;
}

export function FirstRun({ wanted }) {
  useEffect(() => void look(), []);
  const known = start.value;
  return html`<${Sheet} title="Set up models" kind="small firstrun" close=${() => (dialog.value = null)}>
    <h2>Set up models</h2>
    ${!known && html`<p class="note" role="status">Looking what is here…</p>`}
    ${known?.error && html`<p class="problem"><${Icon} name="warn" /><span>${known.error}</span></p>`}
    ${known && !known.error && html`
      <section><h3>A provider's key</h3><${KeyForm} key=${wanted} known=${known} wanted=${wanted} /></section>
      <section><h3>A server on this machine</h3><${Servers} known=${known} /><button type="button" class="quiet small" onClick=${again}>Look again</button></section>
      <section><h3>Four small models</h3><${Starter} known=${known} /></section>`}
    <div class="actions"><span class="grow"></span><button type="button" class="button" onClick=${(event) => event.currentTarget.closest("dialog").close()}>Done</button></div>
  <//>`;
}

// The button that opens it; *wanted*: the variable of the key that is missing.
export function SetUp({ wanted, children }) {
  return html`<button type="button" class="button setup" onClick=${() => (dialog.value = { kind: "start", wanted })}>${children}</button>`;
}

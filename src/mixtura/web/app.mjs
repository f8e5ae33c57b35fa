// The page: runs at the side, the conversation in the middle, the question at its end.
import { dialog, effect, html, Icon, Mark, render, signal, spoken, toast, useEffect, useLayoutEffect, useRef, useState } from "./base.mjs";
import { attached, filesIn } from "./attachments.mjs";
import { Agreement } from "./agreement.mjs";
import { Answer, CopyButton, Hint, MarksButton, Totals } from "./answer.mjs";
import { Prose } from "./markdown.mjs";
import { Axis } from "./timeline.mjs";
import { Layers } from "./cards.mjs";
import { Composer, focusQuestion, pointed } from "./composer.mjs";
import { Sketch } from "./team_editor.mjs";
import { Blind, Choices, isHidden, Verdict } from "./blind_comparison.mjs";
import { AfterHand, CallHand, GoOn, ReportPrice } from "./run_controls.mjs";
import { Details, Link, Sheet } from "./call_details.mjs";
import { CompareAfter } from "./comparison.mjs";
import { FirstRun, SetUp } from "./first_run.mjs";
import { hindrance, short } from "./format.mjs";
import { chooseLanguage, language, languages, named, pieces, speakFirst, t } from "./language.mjs";
import { conversation } from "./conversation.mjs";
import { keepPage } from "./install.mjs";
import { Question } from "./question.mjs";
import { Delete, Runs } from "./past_conversations.mjs";
import { key, locked } from "./access.mjs";
import { EditedQuestion, Export, isEdited, QuestionTools, Rename, TalkHead } from "./conversation_view.mjs";
import { again, bring, broken, busy, choice, draft, enter, fresh, list, mixture, opening, plan, reopen, replan, setup, share, sought, steer, stop, turns } from "./page_state.mjs";

const aside = signal(false); // the list of runs on a narrow window
const singles = signal(stored("mixtura.keys") !== "off"); // shortcuts of one key

function stored(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

// ---- light and dark

const theme = signal(document.documentElement.dataset.theme ?? "system");
function nextTheme() {
  const next = { system: "light", light: "dark", dark: "system" }[theme.value];
  theme.value = next;
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  stored("mixtura.theme", next);
}

function Theme() {
  const icon = { system: "half", light: "sun", dark: "moon" }[theme.value];
  return html`<button type="button" class="quiet small" onClick=${nextTheme} aria-label=${t(`theme.now_${theme.value}`)}><${Icon} name=${icon} /><span>${t(`theme.${theme.value}`)}</span></button>`;
}

// All of the page is drawn anew, in the other language; the focus stays where it was.
async function changeLanguage(tag) {
  await chooseLanguage(tag);
  document.getElementById("language")?.focus();
}

function Language() {
  return html`<span class="select language"><label class="sr" for="language">${t("page.language")}</label>
    <select id="language" value=${language.value} onChange=${(event) => changeLanguage(event.target.value)}>${languages.map(({ tag, name }) => html`<option value=${tag} lang=${tag}>${name}</option>`)}</select><${Icon} name="chevron" /></span>`;
}

// ---- parts

function Side() {
  return html`<aside class="side ${aside.value ? "open" : ""}" aria-label=${t("page.runs")}>
    <div class="brand"><${Mark} /><b>Mixtura</b><span class="grow"></span>
      <button type="button" class="quiet icon-only only-narrow" aria-label=${t("page.close_runs")} onClick=${() => (aside.value = false)}><${Icon} name="close" /></button></div>
    <button type="button" class="newask" onClick=${() => { fresh(); aside.value = false; focusQuestion(); }}><${Icon} name="edit" />${t("page.new")}</button>
    <${Runs} chosen=${() => (aside.value = false)} />
    <footer><${Theme} /><${Language} /><span class="grow"></span>
      <button type="button" class="quiet small" onClick=${() => (dialog.value = { kind: "keys" })} aria-label=${t("keys.title")}><kbd aria-hidden="true">?</kbd></button>
      ${key.value && html`<button type="button" class="quiet icon-only" aria-label=${t("door.forget")} title=${t("door.forget")} onClick=${() => { sessionStorage.removeItem("mixtura.key"); location.reload(); }}><${Icon} name="lock" /></button>`}
    </footer>
  </aside>`;
}

function Turn({ one, last }) {
  const { run, alone } = one;
  run.tick.value;
  const open = one.open.value;
  const kept = setup.value?.runs && run.id && run.recorded;
  const actions = html`
    <${MarksButton} run=${run} /><${CopyButton} run=${run} />
    ${kept && html`<button type="button" class="quiet small" aria-label=${t("turn.share")} title=${t("turn.share_title")} onClick=${() => share(run)}><${Icon} name="share" /><span>${t("turn.share")}</span></button>`}
    ${run.state === "failed" || run.state === "stopped" ? html`<button type="button" class="quiet small" aria-label=${t("turn.again")} disabled=${busy.value} onClick=${() => again(one)}><${Icon} name="again" /><span>${t("turn.again")}</span></button>` : null}`;
  return html`<article class="turn ${last ? "" : "past"}" data-number=${one.number} aria-label=${t("turn.label", { question: filesIn(run.question).rest.slice(0, 80) })}>
    ${one.earlier.map((message) => html`<div class="earlier ${message.role}"><h2>${message.role === "user" ? t("role.you") : named("role", message.role)}</h2><${Prose} text=${message.content} /></div>`)}
    <${Question} text=${run.question} pictures=${run.pictures} hidden=${isEdited(one)} />
    ${isHidden(one) ? html`<${Blind} one=${one} />` : html`
    <${EditedQuestion} one=${one} />
    <${QuestionTools} one=${one} />
    ${run.glimpsed && !run.proposers.length && html`<button type="button" class="fold" aria-expanded="false" onClick=${() => { one.open.value = true; bring(run); }}><${Icon} name="chevron" /><span>${t("turn.how")}</span></button>`}
    ${run.proposers.length > 0 && (last || !run.live) && html`<button type="button" class="fold" aria-expanded=${open} onClick=${() => { one.open.value = !open; if (!open) bring(run); }}><${Icon} name="chevron" /><${Strip} run=${run} /></button>`}
    ${run.live && run.proposers.some((call) => call.live) && run.proposers.some((call) => call.state === "done") && html`<p class="hand"><button type="button" class="quiet small" title=${t("turn.answer_now_title")} onClick=${() => steer(run, "answer_now")}>${t("turn.answer_now")}</button></p>`}
    ${open && !run.glimpsed && run.proposers.length > 0 && html`<${Layers} run=${run} />`}
    <div class=${alone ? "beside" : ""}>
      <${Answer} run=${run} actions=${actions} title=${alone ? t("answer.mixture") : null} />
      <${Agreement} run=${run} />
      ${alone && html`<${Verdict} one=${one} />`}
      ${alone && html`<${Answer} run=${alone} actions=${html`<${CopyButton} run=${alone} />`} title=${t("answer.alone")} against=${run} />`}
    </div>
    ${!run.live && html`<div class="after"><${Totals} run=${run} /><span class="aftertools">
      ${!alone && run.answer && html`<${CompareAfter} one=${one} />`}<${AfterHand} one=${one} /></span></div>`}
    ${open && run.calls.some((call) => call.started !== null) && html`<${Axis} run=${run} />`}`}
  </article>`;
}

const isChanged = ({ asked }) => Boolean(asked?.mixtura && ["proposers", "aggregator", "layers"].some((part) => asked.mixtura[part]));

// A run's shape and cost in one line, when it is folded.
function Strip({ run }) {
  run.tick.value;
  const row = run.proposers;
  const there = row.filter((call) => call.state === "done").length;
  return html`<span class="strip"><span class="dots" aria-hidden="true">${row.slice(0, 24).map((call) => html`<i class="c${call.index % 8} ${call.state}"></i>`)}</span>
    <span>${isChanged(run) ? t("turn.changed", { model: run.model }) : run.model} · ${t("layers", { n: run.layers.length + 1 })} · ${t(there === row.length ? "drafts" : "drafts_of", { there, n: row.length })}</span></span>`;
}

function Welcome() {
  const { state, data, error } = plan.value;
  const samples = [1, 2, 3].map((number) => t(`welcome.sample_${number}`));
  const auto = mixture.value?.auto;
  const needed = mixture.value?.needs?.[0];
  return html`<section class="welcome">
    <h1>${t("welcome.first")}<br />${t("welcome.second")}</h1>
    <p class="lead">${t("welcome.lead")}</p>
    ${data && data.layers.length > 0 && html`<${Preview} data=${data} />`}
    ${state === "error" && !pointed.value && html`<p class="problem" role="alert"><${Icon} name="warn" /><span>${error}</span></p>`}
    ${mixture.value?.problem && html`<p class="problem"><${Icon} name="warn" /><span><b>${t("welcome.cannot")}</b> ${hindrance(mixture.value.problem)}</span></p>`}
    ${auto && html`<p class="auto dim">${pieces("welcome.chosen", { why: html`<span lang="en">${auto}</span>` })}</p>`}
    ${(auto || needed) && html`<p><${SetUp} wanted=${needed}>${t(needed ? "enter_key" : "set_up")}<//></p>`}
    <div class="samples">${samples.map((text) => html`<button type="button" onClick=${() => { draft.value = text; focusQuestion(); }}>${text}</button>`)}</div>
  </section>`;
}

// The chosen mixture before it is asked: names on the nodes, lines as they will be drawn.
function Preview({ data }) {
  const narrow = innerWidth < 560;
  const rows = [...data.layers, [data.aggregator]];
  const most = Math.max(...data.layers.map((row) => row.length));
  const width = 640;
  const step = 88;
  const high = rows.length * step;
  const place = (i, n) => (n === 1 ? width / 2 : ((i + 0.5) / n) * width);
  const wide = Math.min(176, width / most - 10);
  const letters = Math.floor((wide - 26) / 6.6);
  if (narrow) return html`<div class="preview"><${Sketch} rows=${data.layers} width=${260} /></div>`;
  const cut = (name) => (name.length > letters ? `${name.slice(0, Math.max(1, letters - 1))}…` : name);
  return html`<svg class="preview" viewBox=${`0 0 ${width} ${high}`} role="img" aria-label=${t("welcome.shape", { name: data.name, layers: t("layers", { n: rows.length }), calls: t("calls", { n: data.calls }) })}>
    ${rows.slice(0, -1).map((row, l) => row.map((_, i) => rows[l + 1].map((__, j) => {
      const [a, b, y] = [place(i, row.length), place(j, rows[l + 1].length), l * step + 44];
      return html`<path class="c${i % 8}" d=${`M${a} ${y}C${a} ${y + 32} ${b} ${y + 22} ${b} ${y + step - 30}`} />`;
    })))}
    ${rows.map((row, l) => row.map((name, i) => {
      const x = place(i, row.length);
      const last = l === rows.length - 1;
      return html`<g class=${last ? "node ink" : `node c${i % 8}`}><title>${name}</title><rect x=${x - wide / 2} y=${l * step + 14} width=${wide} height="30" rx="8" /><circle cx=${x - wide / 2 + 13} cy=${l * step + 29} r="3.4" /><text x=${x - wide / 2 + 22} y=${l * step + 29}>${cut(short(name))}</text></g>`;
    }))}
  </svg>`;
}

function Door() {
  const box = useRef(null);
  const [wrong, setWrong] = useState(false);
  const [trying, setTrying] = useState(false);
  useEffect(() => box.current.focus(), []);
  const go = async (event) => {
    event.preventDefault();
    setTrying(true);
    setWrong(!(await enter(box.current.value.trim())));
    setTrying(false);
  };
  return html`<main class="door"><form onSubmit=${go}>
    <${Mark} /><h1>Mixtura</h1>
    <p class="dim">${t("door.asks")}</p>
    <label for="key">${t("door.key")}</label>
    <input id="key" ref=${box} type="password" autocomplete="off" spellcheck=${false} required aria-invalid=${wrong} aria-describedby=${wrong ? "wrong" : undefined} />
    ${wrong && html`<p id="wrong" class="problem" role="alert"><${Icon} name="warn" /><span>${broken.value ?? t("door.wrong")}</span></p>`}
    <button type="submit" class="button primary" disabled=${trying}>${t(trying ? "door.looking" : "door.enter")}</button>
  </form></main>`;
}

function Keys() {
  const rows = [[t("keys.ask"), t("keys.ask_does")], [t("keys.line"), t("keys.line_does")], [t("keys.stop"), t("keys.stop_does")], ["/", t("keys.write_does")], [t("keys.search"), t("keys.search_does")], ["?", t("keys.list_does")]];
  return html`<${Sheet} title=${t("keys.title")} kind="small" close=${() => (dialog.value = null)}>
    <h2>${t("keys.heading")}</h2>
    <dl class="keys">${rows.map(([name, does]) => html`<div><dt>${name.split(" ").map((one) => html`<kbd>${one}</kbd>`)}</dt><dd>${does}</dd></div>`)}</dl>
    <label class="check"><input type="checkbox" checked=${singles.value} onChange=${(event) => { singles.value = event.target.checked; stored("mixtura.keys", singles.value ? "on" : "off"); }} /> ${t("keys.single")}</label>
    <p class="dim small">Mixtura ${setup.value?.version ?? ""}</p>
    <div class="actions"><span class="grow"></span><button type="button" class="button primary" autofocus onClick=${(event) => event.currentTarget.closest("dialog").close()}>${t("done")}</button></div>
  <//>`;
}

// When the answer begins below what is seen, bring its beginning up, once, unless somebody
// has scrolled in the meantime.
function useLed(box, run) {
  const writing = run?.live && run.answerCall?.state === "writing";
  const moved = useRef(false);
  useEffect(() => {
    moved.current = false;
    const mine = () => (moved.current = true);
    const ways = ["wheel", "touchmove", "pointerdown"];
    for (const way of ways) box.current.addEventListener(way, mine, { passive: true });
    return () => ways.forEach((way) => box.current?.removeEventListener(way, mine));
  }, [run]);
  useEffect(() => {
    const answer = writing && !moved.current && box.current.querySelector(".turn:last-of-type .answer");
    if (!answer) return;
    const [seen, top] = [box.current.getBoundingClientRect(), answer.getBoundingClientRect().top];
    if (top < seen.top + seen.height * 0.5) return;
    box.current.scrollBy({ top: top - seen.top - seen.height * 0.22, behavior: still() ? "instant" : "smooth" });
  }, [writing]);
}

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function Conversation() {
  const box = useRef(null);
  const all = turns.value;
  const last = all.at(-1);
  const number = last?.number;
  last?.run.tick.value;
  useLed(box, last?.run);
  useLayoutEffect(() => {
    const tell = () => box.current.style.setProperty("--high", `${box.current.clientHeight}px`);
    tell(); // no container query: with many turns it costs a layout for each of them
    const seen = new ResizeObserver(tell);
    seen.observe(box.current);
    return () => seen.disconnect();
  }, []);
  useLayoutEffect(() => {
    const question = box.current.querySelector(".turn:last-of-type .question");
    if (!question) return;
    // At once: a gentle scroll ends where it is when the turn above folds in the meantime.
    const bring = () => question.scrollIntoView({ block: "start", behavior: "instant" });
    bring();
    const later = requestAnimationFrame(bring);
    return () => cancelAnimationFrame(later);
  }, [number]);
  useEffect(() => {
    if (sought.value === null) return;
    box.current.querySelector(`.turn[data-number="${sought.value}"]`)?.scrollIntoView({ block: "start" });
    sought.value = null;
  }, [sought.value]);
  return html`<div class="scroller" ref=${box}>
    <div class="column">
      ${all.length > 0 && !conversation.value && html`<h1 class="sr">${t("page.conversation")}</h1>`}
      <${TalkHead} />
      ${all.length ? all.map((one) => html`<${Turn} key=${one.number} one=${one} last=${one === last} />`) : html`<${Welcome} />`}
    </div>
  </div>`;
}

function App() {
  if (locked.value) return html`<${Door} />`;
  if (!setup.value) return html`<main class="door"><div class="lost" role="status">${broken.value ? html`<${Mark} /><h1>${t("page.lost")}</h1><p class="dim">${broken.value} ${t("page.lost_more")}</p>` : "…"}</div></main>`;
  const open = dialog.value;
  return html`
    <a class="skip" href="#question" onClick=${(event) => { event.preventDefault(); focusQuestion(); }}>${t("page.skip")}</a>
    <div class="frame">
      <${Side} />
      ${aside.value && html`<div class="shade" onClick=${() => (aside.value = false)}></div>`}
      <main aria-label=${t("page.conversation")} aria-busy=${busy.value}>
        <header class="topbar only-narrow">
          <button type="button" class="quiet icon-only" aria-label=${t("page.show_runs")} aria-expanded=${aside.value} onClick=${() => (aside.value = true)}><${Icon} name="menu" /></button>
          <${Mark} /><b>Mixtura</b><span class="grow"></span>
          <button type="button" class="quiet icon-only" aria-label=${t("page.new")} onClick=${() => { fresh(); focusQuestion(); }}><${Icon} name="edit" /></button>
        </header>
        <${Conversation} />
        <div class="dock"><${Composer} follow=${turns.value.length > 0} /></div>
      </main>
    </div>
    <${Hint} />
    ${open?.kind === "call" && html`<${Details} key=${open.call.key + open.run.id} ...${open} hand=${CallHand} />`}
    ${open?.kind === "link" && html`<${Link} ...${open} />`}
    ${open?.kind === "delete" && html`<${Delete} ...${open} />`}
    ${open?.kind === "start" && html`<${FirstRun} ...${open} />`}
    ${open?.kind === "again" && html`<${GoOn} ...${open} />`}
    ${open?.kind === "report" && html`<${ReportPrice} ...${open} />`}
    ${open?.kind === "choices" && html`<${Choices} />`}
    ${open?.kind === "rename" && html`<${Rename} ...${open} />`}
    ${open?.kind === "export" && html`<${Export} ...${open} />`}
    ${open?.kind === "keys" && html`<${Keys} />`}
    <p class="sr" role="status" aria-live="polite">${spoken.value}</p>
    ${toast.value && html`<p class="toast" aria-hidden="true">${toast.value}</p>`}`;
}

// ---- keys, address, beginning

addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  const covered = document.querySelector("dialog[open]") !== null;
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    aside.value = matchMedia("(max-width: 860px)").matches;
    requestAnimationFrame(() => document.getElementById("search")?.focus());
  } else if (event.key === "Escape" && !covered) {
    if (aside.value) aside.value = false;
    else stop();
  } else if (plain && !typing && !covered && singles.value && event.key === "/") {
    event.preventDefault();
    focusQuestion();
  } else if (plain && !typing && !covered && singles.value && event.key === "?") {
    dialog.value = { kind: "keys" };
  }
});

function addressed() {
  const found = /^#run\/([\w-]+)$/.exec(location.hash);
  if (!setup.value) return;
  if (found) reopen(found[1]);
  else if (!location.hash && turns.value.length) fresh(false);
}
addEventListener("popstate", addressed);
addEventListener("online", () => setup.value && (replan(), list()));

effect(() => {
  choice.value;
  draft.value;
  attached.value;
  turns.value;
  setup.value;
  replan();
});
effect(() => {
  const run = turns.value.at(-1)?.run;
  run?.tick.value;
  document.title = run ? `${run.live ? "… " : ""}${filesIn(run.question).rest.slice(0, 60)} · Mixtura` : "Mixtura";
});
// A server that does not answer may be there again: it is asked until it is.
async function begin() {
  while (!(await enter(key.value))) {
    if (locked.value) return false;
    await new Promise((done) => setTimeout(done, 3000));
  }
  return true;
}
speakFirst().then(async () => {
  language.subscribe((tag) => render(html`<${App} key=${tag} />`, document.getElementById("app")));
  if (!(await begin())) return;
  keepPage();
  addressed();
  if (!location.hash && matchMedia("(pointer: fine)").matches) focusQuestion();
});

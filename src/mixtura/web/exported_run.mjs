// An exported run: the same cards, axis and marks, in a file that asks nobody anything.
import { dialog, effect, html, Icon, Mark, render, spoken, toast } from "./base.mjs";
import { when } from "./format.mjs";
import { named, speakFirst, t } from "./language.mjs";
import { Answer, CopyButton, Hint, MarksButton, Totals } from "./answer.mjs";
import { Agreement } from "./agreement.mjs";
import { Axis } from "./timeline.mjs";
import { Layers } from "./cards.mjs";
import { Details, Link } from "./call_details.mjs";
import { Question } from "./question.mjs";
import { Run, said } from "./run.mjs";

const run = Run.from(JSON.parse(document.getElementById("run").textContent));

function other() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

function Frozen() {
  const open = dialog.value;
  return html`<main class="frozen column">
    <header class="frozenhead">
      <${Mark} /><h1>Mixtura</h1><span class="dim">${t("frozen.head", { when: when(run.startedAt), model: run.model })}</span><span class="grow"></span>
      <button type="button" class="quiet icon-only" aria-label=${t("frozen.theme")} onClick=${other}><${Icon} name="moon" /></button>
    </header>
    ${run.messages.map((message) => html`<article class="earlier ${message.role}"><h2>${named("role", message.role)}</h2><div class="plain" dir="auto">${said(message)}</div></article>`)}
    <article class="turn">
      <${Question} text=${run.question} pictures=${run.pictures} />
      <${Layers} run=${run} />
      <${Answer} run=${run} actions=${html`<${MarksButton} run=${run} /><${CopyButton} run=${run} />`} />
      <${Agreement} run=${run} />
      <${Totals} run=${run} />
      <${Axis} run=${run} />
    </article>
    <${Hint} />
    ${open?.kind === "call" && html`<${Details} key=${open.call.key} ...${open} />`}
    ${open?.kind === "link" && html`<${Link} ...${open} />`}
    <p class="sr" role="status">${spoken.value}</p>
    ${toast.value && html`<p class="toast">${toast.value}</p>`}
  </main>`;
}

speakFirst().then(() => render(html`<${Frozen} />`, document.getElementById("app")));
effect(() => (document.title = `${run.question.slice(0, 60)} · Mixtura`));

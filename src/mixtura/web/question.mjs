// A question as it was asked: a headline when it is short, a message that folds when it is long.
import { filesIn, Pictures } from "./attachments.mjs";
import { html, Icon, useState } from "./base.mjs";
import { t } from "./language.mjs";

const LONG = 320; // characters
const LINES = 5;

export function Question({ text: whole, pictures = [], hidden = false }) {
  const { names, rest: text } = filesIn(whole);
  const [open, setOpen] = useState(false);
  const long = text.length > LONG || text.split("\n").length > LINES;
  const files = hidden ? null : html`<${Pictures} parts=${pictures} />${names.length > 0 && html`<p class="attached">${names.map((name) => html`<span class="chip"><${Icon} name="clip" />${name}</span>`)}</p>`}`;
  if (!long) return html`${files}<h2 class="question" dir="auto" tabindex="-1" hidden=${hidden}>${text}</h2>`;
  return html`${files}<div class="longquestion" hidden=${hidden}>
    <h2 class="question ${open ? "" : "folded"}" dir="auto" tabindex="-1">${text}</h2>
    <button type="button" class="quiet small" aria-expanded=${open} onClick=${() => setOpen(!open)}>${t(open ? "question.less" : "question.more")}</button>
  </div>`;
}

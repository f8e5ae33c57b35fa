// A question as it was asked: a headline when it is short, a message that folds when it is long.
import { html, useState } from "./base.mjs";

const LONG = 320; // characters
const LINES = 5;

export function Question({ text, hidden = false }) {
  const [open, setOpen] = useState(false);
  const long = text.length > LONG || text.split("\n").length > LINES;
  if (!long) return html`<h2 class="question" dir="auto" tabindex="-1" hidden=${hidden}>${text}</h2>`;
  return html`<div class="longquestion" hidden=${hidden}>
    <h2 class="question ${open ? "" : "folded"}" dir="auto" tabindex="-1">${text}</h2>
    <button type="button" class="quiet small" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? "Show less" : "Show the whole question"}</button>
  </div>`;
}

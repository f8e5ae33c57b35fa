// Text that nobody trusts, as blocks to read: markdown, then DOMPurify, then our own hands.
// No HTML of a model's is rendered but a few tags without attributes; links and images do nothing
// until a person says so.
import { Marked } from "marked";
import DOMPurify from "dompurify";
import { dialog } from "./base.mjs";
import { escapeText, fold, harmlessTags, noteReference, noteText } from "./markdown_extras.mjs";
import { t } from "./language.mjs";
import { listing } from "./code_block.mjs";
import { escape, mathBlock, mathInline } from "./maths.mjs";

const marked = new Marked({
  gfm: true,
  extensions: [mathBlock, fold, noteText, mathInline, noteReference],
  renderer: {
    html: (token) => harmlessTags(token.text),
    text(token) {
      return token.tokens ? this.parser.parseInline(token.tokens) : escapeText(token.text);
    },
    code: ({ text, lang }) =>
      `<pre data-lang="${escape((lang ?? "").split(/\s/)[0])}"><code>${escape(text)}</code></pre>`,
    link({ href, tokens }) {
      return `<a data-href="${escape(href)}">${this.parser.parseInline(tokens)}</a>`;
    },
    image: ({ href, text }) => `<span data-src="${escape(href)}" data-alt="${escape(text)}"></span>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

const allowed = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code",
    "em", "strong", "del", "table", "thead", "tbody", "tr", "th", "td", "a", "span", "sub", "sup", "kbd",
    "u", "mark", "small", "details", "summary", "div", "#text",
  ],
  ALLOWED_ATTR: [
    "data-href", "data-src", "data-alt", "data-lang", "data-tex", "data-note", "data-footnote", "align", "start", "open",
  ],
  ADD_URI_SAFE_ATTR: ["data-src"], // looked at by hand, in chip()
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const WINDOW = 16000; // characters of a text that are read at once

// Where links lead that a text defines anywhere, so that a part of it can be read alone.
function definitions(source) {
  const links = {};
  for (const [, name, href] of source.matchAll(/^ {0,3}\[([^\]^\n][^\]\n]*)\]:[ \t]*<?(\S+?)>?(?:[ \t]+["'(].*)?$/gm)) {
    links[name.trim().toLowerCase().replace(/\s+/g, " ")] ??= { href, title: "" };
  }
  return links;
}

function read(source, links) {
  try {
    const lexer = new marked.Lexer({ ...marked.defaults });
    Object.assign(lexer.tokens.links, links);
    return lexer.lex(source);
  } catch {
    // nested deeper than the stack goes: the text as it stands
    return [{ type: "code", raw: source, text: source, lang: "text" }];
  }
}

// The blocks of a text, each with what it was made of and where that ends; and where links lead.
// A long text is read in windows, *goOn* asked between them: null where it says no. Only the
// last blocks of a window could go on behind it; the next window begins with them.
export async function lexed(source, goOn) {
  const links = source.includes("]:") ? definitions(source) : {};
  const tokens = [];
  let [at, size] = [0, WINDOW];
  while (at < source.length) {
    if (at > 0 && !(await goOn())) return null;
    const last = at + size >= source.length;
    const found = read(last ? source.slice(at) : source.slice(at, at + size), links);
    const sure = last ? found : found.slice(0, -2);
    size = sure.length ? WINDOW : size * 2;
    for (const token of sure) {
      at += token.raw.length;
      if (token.type !== "space" && token.type !== "def") tokens.push({ ...token, end: at });
    }
    if (last) break;
  }
  return { tokens, links: JSON.stringify(links) };
}

const turning = "p, li, h1, h2, h3, h4, h5, h6, blockquote, td, th, summary, ul, ol, div";

function clean(token) {
  let markup;
  try {
    markup = marked.parser([token]);
  } catch {
    markup = `<p>${escape(token.raw)}</p>`;
  }
  return DOMPurify.sanitize(markup, allowed);
}

export function fragment(token) {
  const made = clean(token);
  for (const element of made.querySelectorAll(turning)) element.dir = "auto"; // Arabic from the right
  for (const link of made.querySelectorAll("a")) disarm(link);
  for (const image of made.querySelectorAll("[data-src]")) image.replaceWith(chip(image));
  for (const table of made.querySelectorAll("table")) scrolling(table);
  for (const pre of made.querySelectorAll("pre")) pre.replaceWith(listing(pre));
  for (const note of made.querySelectorAll("[data-note]")) reference(note);
  for (const note of made.querySelectorAll("[data-footnote]")) footnote(note);
  return made;
}

const PART = 60; // items or rows that are made at once

// A long list or table in parts, so that the page answers in between.
export function parts(token) {
  const name = { list: "items", table: "rows" }[token.type];
  const all = name ? token[name] : [];
  if (all.length <= PART) return [token];
  const cut = [];
  for (let at = 0; at < all.length; at += PART) cut.push({ ...token, [name]: all.slice(at, at + PART) });
  return cut;
}

// Put what a further part was made of into the first part's list or table.
export function join(first, made) {
  const from = made.querySelector("tbody, ul, ol");
  (first.matches("ul, ol") ? first : first.querySelector("tbody")).append(...from.children);
}

// ---- footnotes

function reference(note) {
  const { note: name } = note.dataset;
  note.className = "noteref";
  note.setAttribute("role", "link");
  note.setAttribute("aria-label", t("text.footnote", { name }));
  note.tabIndex = 0;
  pressed(note, () => {
    const text = [...note.closest(".prose").querySelectorAll(".footnote")].find((one) => one.dataset.footnote === name);
    text?.focus({ preventScroll: true });
    text?.scrollIntoView({ block: "nearest" });
  });
}

function footnote(note) {
  const number = document.createElement("span");
  number.className = "notenumber";
  number.textContent = note.dataset.footnote;
  note.className = "footnote";
  note.tabIndex = -1;
  note.prepend(number);
}

// ---- links and images

function address(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

function pressed(element, act) {
  element.addEventListener("click", act);
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act();
  });
}

function disarm(link) {
  const url = address(link.dataset.href ?? "");
  if (!url) {
    const words = document.createElement("span");
    words.className = "nolink";
    words.append(...link.childNodes);
    link.replaceWith(words);
    return;
  }
  link.removeAttribute("data-href");
  link.setAttribute("role", "link");
  link.tabIndex = 0;
  link.title = url.href;
  pressed(link, () => (dialog.value = { kind: "link", url: url.href }));
}

function chip(image) {
  const source = image.dataset.src ?? "";
  const alt = image.dataset.alt || t("text.image");
  const url = address(source);
  const picture = /^data:image\/(png|jpeg|gif|webp);base64,[a-z0-9+/=]+$/i.test(source);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "chip image";
  const where = picture ? t("text.image_inside") : (url?.host ?? t("text.image_not"));
  button.textContent = t(url || picture ? "text.image_show" : "text.image_at", { where });
  button.title = alt;
  button.disabled = !url && !picture;
  button.addEventListener("click", () => {
    if (!picture) {
      dialog.value = { kind: "link", url: url.href, image: true };
      return;
    }
    const shown = document.createElement("img");
    shown.src = source;
    shown.alt = alt;
    button.replaceWith(shown);
  });
  return button;
}

// ---- tables

function scrolling(table) {
  const frame = document.createElement("div");
  frame.className = "scroll";
  frame.tabIndex = 0;
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", t("text.table"));
  table.replaceWith(frame);
  frame.append(table);
  for (const cell of table.querySelectorAll("th, td")) keepWords(cell);
}

// A word with a hyphen stays on one line in a table: the frame scrolls instead.
function keepWords(cell) {
  if (!cell.textContent.includes("-")) return;
  const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  const texts = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) if (/\S-\S/.test(node.data)) texts.push(node);
  for (const node of texts) {
    node.replaceWith(
      ...node.data.split(/(\S{1,24}-\S{1,24})/).map((piece, i) => {
        if (i % 2 === 0) return piece;
        const whole = document.createElement("span");
        whole.className = "whole";
        whole.textContent = piece;
        return whole;
      }),
    );
  }
}

// Text that nobody trusts, as something to read: markdown, then DOMPurify, then our own hands.
// No HTML of a model's is ever rendered; links and images do nothing until a person says so.
import { Marked } from "marked";
import DOMPurify from "dompurify";
import { copy, dialog, html, useLayoutEffect, useRef } from "./base.mjs";

const escape = (text) =>
  text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

const block = {
  name: "mathBlock",
  level: "block",
  start: (source) => source.match(/\$\$|\\\[/)?.index,
  tokenizer(source) {
    const found = /^(?:\$\$([^]+?)\$\$|\\\[([^]+?)\\\])[ \t]*(?:\n|$)/.exec(source);
    if (found) return { type: "mathBlock", raw: found[0], tex: found[1] ?? found[2] };
    return undefined;
  },
  renderer: (token) => `<p><code data-tex="display">${escape(token.tex.trim())}</code></p>`,
};

const inline = {
  name: "mathInline",
  level: "inline",
  start: (source) => source.match(/\$|\\\(|\\\[/)?.index,
  tokenizer(source) {
    const found =
      /^\\\(([^]+?)\\\)/.exec(source) ??
      /^\\\[([^]+?)\\\]/.exec(source) ??
      /^\$\$([^$]+?)\$\$/.exec(source) ??
      // as pandoc has it: no space inside, no digit behind, so that prices stay prices
      /^\$(?!\s)((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d)/.exec(source);
    if (found) return { type: "mathInline", raw: found[0], tex: found[1] };
    return undefined;
  },
  renderer: (token) => `<code data-tex="inline">${escape(token.tex.trim())}</code>`,
};

const marked = new Marked({
  gfm: true,
  extensions: [block, inline],
  renderer: {
    html: (token) => escape(token.text),
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
    "em", "strong", "del", "table", "thead", "tbody", "tr", "th", "td", "a", "span", "#text",
  ],
  ALLOWED_ATTR: ["data-href", "data-src", "data-alt", "data-lang", "data-tex", "align", "start"],
  ADD_URI_SAFE_ATTR: ["data-src"], // looked at by hand, in chip()
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

// The blocks of a text, each with what it was made of.
function lexed(source) {
  const tokens = marked.lexer(source);
  return tokens.filter((token) => token.type !== "space" && token.type !== "def");
}

function fragment(token) {
  const clean = DOMPurify.sanitize(marked.parser([token]), allowed);
  for (const link of clean.querySelectorAll("a")) disarm(link);
  for (const image of clean.querySelectorAll("[data-src]")) image.replaceWith(chip(image));
  for (const table of clean.querySelectorAll("table")) scrolling(table);
  for (const pre of clean.querySelectorAll("pre")) pre.replaceWith(listing(pre));
  return clean;
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
  const alt = image.dataset.alt || "image";
  const url = address(source);
  const picture = /^data:image\/(png|jpeg|gif|webp);base64,[a-z0-9+/=]+$/i.test(source);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "chip image";
  const where = picture ? "in the text" : (url?.host ?? "not shown");
  button.textContent = `image: ${where}${url || picture ? " — show" : ""}`;
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

// ---- tables and code

function scrolling(table) {
  const frame = document.createElement("div");
  frame.className = "scroll";
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", "Table");
  table.replaceWith(frame);
  frame.append(table);
}

const words = new Set(
  ("and as assert async await break case catch class const continue def default del do done elif else end enum " +
    "except export extends false False finally fn for foreach from func function global if impl import in interface " +
    "is lambda let loop match mod module mut new nil None nonlocal not null of or package pass private protected pub " +
    "public raise return select self static struct super switch then this throw trait true True try type typeof " +
    "undefined use using var void where while with yield SELECT FROM WHERE AND OR NOT INSERT INTO VALUES UPDATE SET " +
    "DELETE JOIN LEFT ON GROUP ORDER BY LIMIT CREATE TABLE int float double bool boolean string str char u8 i32 f64").split(" "),
);
const hash = new Set(["py", "python", "sh", "bash", "zsh", "shell", "toml", "yaml", "yml", "ruby", "rb", "r", "perl", "make", "dockerfile", "console"]);
const plain = new Set(["", "text", "txt", "md", "markdown", "diff", "log"]);

// Enough colour to find one's way: comments, strings, numbers, words. Any language, no grammar.
function coloured(code, lang) {
  if (plain.has(lang) || code.length > 20000) return [document.createTextNode(code)];
  const comment = hash.has(lang) ? "#[^\\n]*" : lang === "sql" || lang === "lua" || lang === "haskell" ? "--[^\\n]*" : "\\/\\/[^\\n]*|\\/\\*[^]*?\\*\\/";
  const parts = new RegExp(
    `(?<comment>${comment})|(?<string>"""[^]*?"""|"(?:\\\\.|[^"\\\\\\n])*"|'(?:\\\\.|[^'\\\\\\n])*'|\`(?:\\\\.|[^\`\\\\])*\`)` +
      "|(?<number>\\b\\d[\\d_]*(?:\\.\\d+)?(?:e[+-]?\\d+)?\\b)|(?<word>[A-Za-z_]\\w*)(?<call>(?=\\s*\\())?",
    "g",
  );
  const nodes = [];
  let before = 0;
  for (const found of code.matchAll(parts)) {
    const { comment: c, string, number, word, call } = found.groups;
    const kind = c ? "comment" : string ? "string" : number ? "number" : words.has(word) ? "word" : call !== undefined ? "name" : "";
    if (!kind) continue;
    nodes.push(document.createTextNode(code.slice(before, found.index)));
    const span = document.createElement("span");
    span.className = `t-${kind}`;
    span.textContent = found[0];
    nodes.push(span);
    before = found.index + found[0].length;
  }
  nodes.push(document.createTextNode(code.slice(before)));
  return nodes;
}

function listing(pre) {
  const lang = (pre.dataset.lang ?? "").toLowerCase();
  const code = pre.textContent.replace(/\n$/, "");
  const figure = document.createElement("figure");
  figure.className = "code";
  const head = document.createElement("figcaption");
  const name = document.createElement("span");
  name.textContent = lang || "text";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet small";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy this ${lang || "text"}`);
  button.addEventListener("click", () => copy(code));
  head.append(name, button);
  const body = document.createElement("pre");
  body.tabIndex = 0;
  const inside = document.createElement("code");
  inside.append(...coloured(code, lang));
  body.append(inside);
  figure.append(head, body);
  return figure;
}

// ---- maths

let temml = null;
const elements = new Set(
  ("math semantics mrow mi mn mo mtext mspace ms mfrac msqrt mroot mstyle merror mpadded mphantom msub msup msubsup " +
    "munder mover munderover mmultiscripts mtable mtr mtd none mprescripts menclose span").split(" "),
);

const styles = /^(display|padding|border|width|height|min-|max-|margin|text-|color|background-color|math-|font-|vertical-|line-|letter-)/;
const harmless = (node) =>
  elements.has(node.localName) &&
  node.getAttributeNames().every((name) => !/^on|href|src|action/i.test(name)) &&
  [...node.style].every((name) => styles.test(name) && !node.style.getPropertyValue(name).includes("url"));

// TeX to MathML, drawn by the browser itself. What cannot be read stays the TeX it was.
async function typeset(root) {
  const found = root.querySelectorAll("code[data-tex]:not([data-done])");
  if (!found.length) return;
  for (const code of found) code.dataset.done = "";
  try {
    temml ??= (await import("temml")).default;
  } catch {
    return;
  }
  for (const code of found) {
    const tex = code.textContent;
    const place = document.createElement("span");
    try {
      temml.render(tex, place, {
        displayMode: code.dataset.tex === "display",
        throwOnError: true, trust: false, maxExpand: 200, maxSize: [20, 40], annotate: false,
      });
    } catch {
      continue;
    }
    if (![...place.querySelectorAll("*")].every(harmless)) continue;
    place.className = code.dataset.tex === "display" ? "maths display" : "maths";
    if (code.dataset.tex === "display") place.tabIndex = 0;
    code.replaceWith(place);
  }
}

// ---- a text that grows

// Render *source* into *root*; blocks that stayed as they were are not touched.
export function show(root, source) {
  const known = (root.blocks ??= []);
  const tokens = lexed(source);
  let i = 0;
  while (i < tokens.length && i < known.length && known[i].raw === tokens[i].raw) i += 1;
  for (const old of known.splice(i)) for (const node of old.nodes) node.remove();
  for (const token of tokens.slice(i)) {
    const made = fragment(token);
    const nodes = [...made.childNodes];
    root.append(made);
    known.push({ raw: token.raw, nodes });
  }
  return typeset(root);
}

const PACE = 100; // milliseconds between two renderings of a text that grows

export function Prose({ text, live = false, label, after, class: name = "" }) {
  const root = useRef(null);
  const last = useRef({ at: 0, timer: 0, took: 0 });
  useLayoutEffect(() => {
    const state = last.current;
    const draw = () => {
      state.timer = 0;
      const began = performance.now();
      const set = show(root.current, text);
      state.at = performance.now();
      state.took = state.at - began;
      if (!live) set.then(() => root.current && after?.(root.current));
    };
    clearTimeout(state.timer);
    const wait = state.at + Math.max(PACE, state.took * 4) - performance.now();
    if (live && wait > 0) state.timer = setTimeout(draw, wait);
    else draw();
    return () => clearTimeout(state.timer);
  }, [text, live, after]);
  return html`<div ref=${root} class="prose ${name} ${live ? "live" : ""}" aria-label=${label}></div>`;
}

// Formulas: where they stand in a text (never in code, never a price), and TeX as MathML.
import { t } from "./language.mjs";

export const escape = (text) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

// What stands between the marks of a formula: no code, no blank line.
const inside = "(?:\\\\[^]|[^\\\\`\\n]|\\n(?![ \\t]*(?:\\n|$)))+?";
const environments =
  "(?:equation|align|aligned|alignat|alignedat|gather|gathered|multline|split|cases|dcases|rcases|array|matrix|smallmatrix|[pbBvV]matrix|CD)\\*?";
const bare = new RegExp(`^\\\\begin\\{(${environments})\\}${inside.replace("`", "")}\\\\end\\{\\1\\}`);
const dollars = new RegExp(`^\\$\\$\\s*?((?:\\\\[^]|[^\\\\\`$\\n]|\\n(?![ \\t]*(?:\\n|$))|\\n[ \\t]*\\n(?=[ \\t]*\\$\\$))+?)\\s*\\$\\$`);
const brackets = new RegExp(`^\\\\\\[\\s*(${inside})\\s*\\\\\\]`);
const parentheses = new RegExp(`^\\\\\\((${inside})\\\\\\)`);
const dollar = /^\$(?!\s)((?:\\.|[^$\\\n`])+?)(?<!\s)\$(?!\d)/;

// `$5 a month, or $6` and `$HOME:$PATH` are no formulas.
function isFormula(tex, next) {
  const words = tex.replace(/\\(?:text|mathrm|operatorname|mbox|textbf|textit)\s*\{[^{}]*\}|\\[a-z]+/gi, "");
  if (/^[\d.,]+(?:\s|[-–—/]\s*(?:[a-z]{2}|$))/i.test(tex) && /[a-z]{2}/i.test(words)) return false;
  if (/^[\d.,]+[-–—/+]?$/.test(tex) && /[\w]/.test(next)) return false;
  return !(/^[A-Z_]{2}[A-Z_\d]*\b/.test(tex) && /[A-Z_{(]/.test(next));
}

// A formula that begins a line.
function displayed(source) {
  const found = dollars.exec(source) ?? brackets.exec(source);
  if (found) return { raw: found[0], tex: found[1] };
  const environment = bare.exec(source);
  return environment && { raw: environment[0], tex: environment[0] };
}

export const mathBlock = {
  name: "mathBlock",
  level: "block",
  start: (source) => /(?<=^|\n) {0,3}(?:\$\$|\\\[|\\begin\{)/.exec(source)?.index,
  tokenizer(source) {
    const indent = /^ {0,3}/.exec(source)[0];
    const found = displayed(source.slice(indent.length));
    if (!found) return undefined;
    const rest = /^[ \t]*(?:\n+|$)/.exec(source.slice(indent.length + found.raw.length));
    return rest ? { type: "mathBlock", raw: indent + found.raw + rest[0], tex: found.tex } : undefined;
  },
  renderer: (token) => `<p><code data-tex="display">${escape(token.tex.trim())}</code></p>`,
};

export const mathInline = {
  name: "mathInline",
  level: "inline",
  start: (source) => /\$|\\\(|\\\[|\\begin\{/.exec(source)?.index,
  tokenizer(source) {
    const shown = displayed(source);
    if (shown) return { type: "mathInline", raw: shown.raw, tex: shown.tex, display: true };
    const found = parentheses.exec(source) ?? dollar.exec(source);
    if (!found || (source[0] === "$" && !isFormula(found[1], source[found[0].length] ?? ""))) return undefined;
    return { type: "mathInline", raw: found[0], tex: found[1], display: false };
  },
  renderer: ({ tex, display }) => `<code data-tex="${display ? "display" : "inline"}">${escape(tex.trim())}</code>`,
};

// A text with every formula replaced by what *put* makes of its TeX.
export function replaceMaths(text, put) {
  return text
    .replace(/\$\$([^`]*?)\$\$|\\\[([^`]*?)\\\]|\\\(([^`]*?)\\\)/g, (_, one, two, three) => put(one ?? two ?? three))
    .replace(/\\begin\{(\w+\*?)\}([^`]*?)\\end\{\1\}/g, (_, name, tex) => put(tex))
    .replace(/\$(?!\s)((?:\\.|[^$\\\n`])+?)(?<!\s)\$(?!\d)/g, (whole, tex, at, all) => (isFormula(tex, all[at + whole.length] ?? "") ? put(tex) : whole));
}

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
function typeset(code) {
  const tex = code.textContent;
  const display = code.dataset.tex === "display";
  const place = document.createElement("span");
  try {
    temml.render(tex, place, {
      displayMode: display,
      throwOnError: true, trust: false, maxExpand: 200, maxSize: [20, 40], annotate: false,
    });
  } catch {
    return;
  }
  if (![...place.querySelectorAll("*")].every(harmless)) return;
  place.className = display ? "maths display" : "maths";
  if (display) {
    place.tabIndex = 0;
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", t("text.formula"));
  }
  code.replaceWith(place);
}

// Draw the formulas of *codes*, which are taken out of it; *goOn* is asked before each.
// True once all are drawn.
export async function typesetAll(codes, goOn) {
  try {
    if (codes.length) temml ??= (await import("temml")).default;
  } catch {
    return true;
  }
  while (codes.length) {
    if (!(await goOn())) return false;
    typeset(codes.shift());
  }
  return goOn();
}

// What models write beyond Markdown: a few tags of HTML without attributes, folds, footnotes.
import { t } from "./language.mjs";
import { escape } from "./maths.mjs";

const tags = "br|sub|sup|kbd|u|mark|small";
const allowed = new RegExp(`&#60;(/?)(${tags})\\s*/?&#62;`, "gi");

// HTML as its text; only these tags are taken for what they are.
export const harmlessTags = (text) => escape(text).replace(allowed, (_, end, name) => `<${end}${name.toLowerCase()}>`);
export const withoutTags = (text) => text.replace(/<br\s*\/?>/gi, " ").replace(new RegExp(`</?(?:${tags}|details|summary)(?:\\s+open)?\\s*/?>`, "gi"), "");

// Text as marked gives it: entities stay entities.
export const escapeText = (text) => text.replace(/[<>"']|&(?!(?:#\d{1,7}|#x[a-f\d]{1,6}|\w+);)/gi, (sign) => `&#${sign.charCodeAt(0)};`);

// ---- <details>

const DEEPEST = 8;
let depth = 0;

// Where the fold that *source* begins with has its end; the end of the text if it has none.
function closing(source) {
  let open = 0;
  for (const found of source.matchAll(/<(\/?)details(?:\s+open)?>/gi)) {
    open += found[1] ? -1 : 1;
    if (!open) return [found.index, found.index + found[0].length];
  }
  return [source.length, source.length];
}

export const fold = {
  name: "fold",
  level: "block",
  start: (source) => /(?<=^|\n) {0,3}<details(?:\s+open)?>/i.exec(source)?.index,
  tokenizer(source) {
    const head = /^ {0,3}<details(\s+open)?>\s*(?:<summary>([^]*?)<\/summary>)?/i.exec(source);
    if (!head || depth >= DEEPEST) return undefined;
    const [stop, end] = closing(source);
    const raw = source.slice(0, end) + (/^[ \t]*\n*/.exec(source.slice(end))[0] ?? "");
    const token = { type: "fold", raw, open: Boolean(head[1]), title: [], tokens: [] };
    this.lexer.inline((head[2] ?? t("text.details")).trim(), token.title);
    depth += 1;
    try {
      this.lexer.blockTokens(source.slice(Math.min(head[0].length, stop), stop).replace(/^[ \t]*\n/, ""), token.tokens);
    } finally {
      depth -= 1;
    }
    return token;
  },
  renderer(token) {
    return `<details${token.open ? " open" : ""}><summary>${this.parser.parseInline(token.title)}</summary>${this.parser.parse(token.tokens)}</details>`;
  },
};

// ---- footnotes

export const noteReference = {
  name: "noteReference",
  level: "inline",
  start: (source) => source.indexOf("[^"),
  tokenizer(source) {
    const found = /^\[\^([^\]\s^`]{1,30})\](?![(:])/.exec(source);
    return found ? { type: "noteReference", raw: found[0], name: found[1] } : undefined;
  },
  renderer: ({ name }) => `<sup data-note="${escape(name)}">${escape(name)}</sup>`,
};

export const noteText = {
  name: "noteText",
  level: "block",
  start: (source) => /(?<=^|\n)\[\^[^\]\s]{1,30}\]:/.exec(source)?.index,
  tokenizer(source) {
    const found = /^\[\^([^\]\s^`]{1,30})\]:[ \t]*([^\n]*(?:\n(?:[ \t]*\n)*[ \t]+[^\s][^\n]*|\n(?![#>|`~\-*+[]|\d+[.)])[^\s][^\n]*)*)(?:\n+|$)/.exec(source);
    if (!found) return undefined;
    const token = { type: "noteText", raw: found[0], name: found[1], tokens: [] };
    this.lexer.blockTokens(found[2].replace(/\n[ \t]+/g, "\n"), token.tokens);
    return token;
  },
  renderer(token) {
    return `<div data-footnote="${escape(token.name)}">${this.parser.parse(token.tokens)}</div>`;
  },
};

export const withoutNotes = (text) => text.replace(/\[\^[^\]\s]{1,30}\]:?/g, "");

// The first or last words of a text without its marks, for a card's few lines.
import { withoutNotes, withoutTags } from "./markdown_extras.mjs";
import { replaceMaths } from "./maths.mjs";

const SHOWN = 420; // characters
const letter = "[\\p{L}\\p{N}_]";
// `pg_stat_statements` keeps its underscores: emphasis stands at the edges of words.
const underscores = new RegExp(`(?<!${letter})_{1,3}(?=\\S)|(?<=\\S)_{1,3}(?!${letter})`, "gu");

function line(text) {
  if (/^\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)*\|?\s*$/.test(text)) return "";
  const row = /^\s*\|(.+)\|\s*$/.exec(text);
  if (row) return row[1].split(/(?<!\\)\|/).map((cell) => cell.trim()).filter(Boolean).join(" · ");
  return text.replace(/^[ \t]*(?:>[ \t]*)*(?:#{1,6}[ \t]+|[-+*][ \t]+)?/, "");
}

function words(text) {
  return replaceMaths(withoutNotes(withoutTags(text)), (tex) => tex.trim())
    .replace(/!?\[([^\]]*)\]\([^)\s]*(?:\s[^)]*)?\)/g, "$1")
    .replace(underscores, "")
    .replace(/\*{1,3}(?=\S)|(?<=\S)\*{1,3}/g, "");
}

const fence = /^[ \t]*(?:```|~~~)[^\n]*\n?/gm;
const LONG = 30000; // characters from which on nobody counts fences, 25 times a second

const prose = (text) =>
  text
    .split("\n")
    .map(line)
    .join("\n")
    .split(/(`+[^`\n]*`+)/)
    .map((part, i) => (i % 2 ? part : words(part)).replace(/`/g, ""))
    .join("");

// Code keeps every sign of its own: `x ** 2` is no bold.
export function previewText(text, live) {
  const before = live && text.length < LONG ? text.slice(0, -SHOWN) : "";
  const within = (before.match(fence)?.length ?? 0) % 2;
  const clean = (live ? text.slice(-SHOWN) : text.slice(0, SHOWN))
    .split(fence)
    .map((part, i) => ((i + within) % 2 ? part : prose(part)))
    .join("")
    .replace(/\n\s*\n+/g, "\n");
  return live ? clean.trimEnd() : clean.trim();
}

// Code as a block of its own: its language, a button to copy it, a little colour.
import { copy } from "./base.mjs";
import { t } from "./language.mjs";

const words = new Set(
  ("and as assert async await break case catch class const continue def default del do done elif else end enum " +
    "except export extends false False finally fn for foreach from func function global if impl import in interface " +
    "is lambda let loop match mod module mut new nil None nonlocal not null of or package pass private protected pub " +
    "public raise return select self static struct super switch then this throw trait true True try type typeof " +
    "undefined use using var void where while with yield SELECT FROM WHERE AND OR NOT INSERT INTO VALUES UPDATE SET " +
    "DELETE JOIN LEFT ON GROUP ORDER BY LIMIT CREATE TABLE int float double bool boolean string str char u8 i32 f64").split(" "),
);
const sql = new Set(
  ("SELECT FROM WHERE AND OR NOT IN IS AS ON USING INSERT INTO VALUES UPDATE SET DELETE RETURNING JOIN LEFT RIGHT INNER OUTER FULL CROSS LATERAL GROUP " +
    "ORDER BY HAVING LIMIT OFFSET UNION ALL INTERSECT EXCEPT DISTINCT CASE WHEN THEN ELSE END NULL LIKE ILIKE BETWEEN EXISTS WITH RECURSIVE CREATE ALTER DROP " +
    "TABLE VIEW INDEX UNIQUE PRIMARY FOREIGN KEY REFERENCES CONSTRAINT DEFAULT CHECK BEGIN COMMIT ROLLBACK EXPLAIN ANALYZE OVER PARTITION ASC DESC TRUE FALSE " +
    "INTEGER INT BIGINT TEXT VARCHAR BOOLEAN NUMERIC TIMESTAMP DATE JSON JSONB CAST FILTER WINDOW ROWS FETCH FIRST ONLY IF").split(" "),
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
    const kind = c ? "comment" : string ? "string" : number ? "number" : words.has(word) || (lang === "sql" && sql.has(word?.toUpperCase())) ? "word" : call !== undefined ? "name" : "";
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

export function listing(pre) {
  const lang = (pre.dataset.lang ?? "").toLowerCase();
  const code = pre.textContent.replace(/\n$/, "");
  const figure = document.createElement("figure");
  figure.className = "code";
  const head = document.createElement("figcaption");
  const name = document.createElement("span");
  name.textContent = lang === "mermaid" ? t("text.mermaid") : lang || t("text.plain");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet small";
  button.textContent = t("copy");
  button.setAttribute("aria-label", t("text.copy_code", { language: lang || t("text.plain") }));
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

// Whose sentence is whose: the sentences of an answer found again in what was made of it.
import { withoutNotes, withoutTags } from "./markdown_extras.mjs";
import { replaceMaths } from "./maths.mjs";
import { breather } from "./markdown.mjs";

const other = /[^\p{L}\p{N}]+/gu;
const letter = /[\p{L}\p{N}]/u;
const WINDOW = 4000; // letters ahead in which a sentence is looked for

// Only letters and digits, as they remain when markdown has become a page.
function bare(sentence) {
  const text = sentence
    .replace(/^\s*(```|~~~)[^\n]*$/gm, "")
    .replace(/^[ \t]*(?:>[ \t]*)*(?:#{1,6}[ \t]+|(?:\d+[.)]|[-*+])[ \t]+(?:\[[ xX]\][ \t]+)?)?/gm, "")
    .replace(/!\[[^\]]*\]\([^)]*\)/g, "")
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1");
  return replaceMaths(withoutNotes(withoutTags(text)), () => "").replace(other, "");
}

// The letters of all texts in *root* as one string, and in which node each of them stands.
async function flattened(root, goOn) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT, (node) =>
    node.parentElement.closest("figcaption, .maths, .chip, [data-tex], sup.no, .noteref, .notenumber")
      ? NodeFilter.FILTER_REJECT
      : NodeFilter.FILTER_ACCEPT,
  );
  const nodes = [];
  const starts = [];
  const found = [];
  let size = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (nodes.length % 200 === 199 && !(await goOn())) return null;
    const letters = node.data.replace(other, "");
    nodes.push(node);
    starts.push(size);
    found.push(letters);
    size += letters.length;
  }
  return { nodes, starts, flat: found.join("") };
}

// Where the letter *at* of the flat text stands: [node's number, offset in it, length].
function placing({ nodes, starts }) {
  const known = new Map();
  const offsets = (i) => {
    if (known.has(i)) return known.get(i);
    const all = [];
    let offset = 0;
    for (const sign of nodes[i].data) {
      if (letter.test(sign)) for (let unit = 0; unit < sign.length; unit += 1) all.push([offset, sign.length]);
      offset += sign.length;
    }
    known.set(i, all);
    return all;
  };
  return (at) => {
    let [low, high] = [0, starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= at) low = middle;
      else high = middle - 1;
    }
    return [low, ...offsets(low)[at - starts[low]]];
  };
}

// Where a sentence's letters stand from *here* on: [from, to], or null.
function locate(flat, wanted, here) {
  const ahead = flat.slice(here, here + WINDOW + wanted.length);
  const at = ahead.indexOf(wanted);
  if (at >= 0) return at > WINDOW ? null : [here + at, here + at + wanted.length];
  if (wanted.length <= 30) return null;
  const head = ahead.indexOf(wanted.slice(0, 14));
  const tail = head < 0 ? -1 : ahead.slice(0, head + wanted.length * 1.5).indexOf(wanted.slice(-14), head);
  return tail < 0 ? null : [here + head, here + tail + 14];
}

// Mark every sentence that stands in a source; *made* makes the mark's element. In slices, so
// that a long answer does not hold the page up.
export async function mark(root, sentences, made) {
  const goOn = breather(root);
  const all = await flattened(root, goOn);
  if (!all) return;
  const place = placing(all);
  const cuts = new Map(); // node -> [from, to, sentence]
  let here = 0;
  for (const [number, sentence] of sentences.entries()) {
    if (number % 20 === 19 && !(await goOn())) return;
    const wanted = bare(sentence.text);
    const found = wanted && locate(all.flat, wanted, here);
    if (!found) continue;
    here = found[1];
    if (!sentence.from.length) continue;
    const [first, begin] = place(found[0]);
    const [last, at, size] = place(found[1] - 1);
    for (let i = first; i <= last; i += 1) {
      const { data } = all.nodes[i];
      if (!cuts.has(i)) cuts.set(i, []);
      cuts.get(i).push([i === first ? begin : 0, i === last ? trailing(data, at + size) : data.length, number, i === last]);
    }
  }
  for (const [i, pieces] of cuts) {
    if (!(await goOn())) return;
    split(all.nodes[i], pieces, sentences, made);
  }
}

// The full stop and the closing quote belong to their sentence.
function trailing(text, offset) {
  const rest = /^[^\p{L}\p{N}\s]+/u.exec(text.slice(offset));
  return offset + (rest ? rest[0].length : 0);
}

function split(node, pieces, sentences, made) {
  const out = [];
  let before = 0;
  for (const [from, to, number, last] of pieces) {
    if (from < before || !node.data.slice(from, to).trim()) continue;
    out.push(node.data.slice(before, from));
    const element = made(sentences[number], number, last);
    element.prepend(node.data.slice(from, to));
    out.push(element);
    before = to;
  }
  out.push(node.data.slice(before));
  node.replaceWith(...out.filter((part) => part !== ""));
}

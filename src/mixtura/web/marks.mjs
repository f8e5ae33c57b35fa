// Whose sentence is whose: the sentences of an answer found again in what was made of it.

const letter = /[\p{L}\p{N}]/u;

// Only letters and digits, as they remain when markdown has become a page.
function bare(sentence) {
  const text = sentence
    .replace(/^\s*(```|~~~)[^\n]*$/gm, "")
    .replace(/^[ \t]*(?:>[ \t]*)*(?:#{1,6}[ \t]+|(?:\d+[.)]|[-*+])[ \t]+(?:\[[ xX]\][ \t]+)?)?/gm, "")
    .replace(/!\[[^\]]*\]\([^)]*\)/g, "")
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/\$\$[^]*?\$\$|\\\[[^]*?\\\]|\\\([^]*?\\\)/g, "")
    .replace(/\$(?!\s)(?:\\.|[^$\\\n])+?(?<!\s)\$(?!\d)/g, "");
  return [...text].filter((sign) => letter.test(sign)).join("");
}

function flattened(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT, (node) =>
    node.parentElement.closest("figcaption, .maths, .chip, [data-tex], sup.no")
      ? NodeFilter.FILTER_REJECT
      : NodeFilter.FILTER_ACCEPT,
  );
  const nodes = [];
  const places = [];
  let flat = "";
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    nodes.push(node);
    let offset = 0;
    for (const sign of node.data) {
      if (letter.test(sign)) {
        flat += sign;
        for (let i = 0; i < sign.length; i += 1) places.push([nodes.length - 1, offset, sign.length]);
      }
      offset += sign.length;
    }
  }
  return { nodes, places, flat };
}

// Mark every sentence that stands in a source; *made* makes the mark's element.
export function mark(root, sentences, made) {
  const { nodes, places, flat } = flattened(root);
  const cuts = new Map(); // node -> [from, to, sentence]
  let here = 0;
  sentences.forEach((sentence, number) => {
    const wanted = bare(sentence.text);
    if (!wanted) return;
    let found = flat.indexOf(wanted, here);
    let end = found + wanted.length;
    if (found < 0 && wanted.length > 30) {
      found = flat.indexOf(wanted.slice(0, 14), here);
      const tail = found < 0 ? -1 : flat.indexOf(wanted.slice(-14), found);
      end = tail + 14;
      if (tail < 0 || end - found > wanted.length * 1.5) found = -1;
    }
    if (found < 0 || found - here > 4000) return;
    here = end;
    if (!sentence.from.length) return;
    const [first, begin] = places[found];
    const [last, at, size] = places[end - 1];
    for (let i = first; i <= last; i += 1) {
      const from = i === first ? begin : 0;
      const to = i === last ? trailing(nodes[i].data, at + size) : nodes[i].data.length;
      if (!cuts.has(i)) cuts.set(i, []);
      cuts.get(i).push([from, to, number, i === last]);
    }
  });
  for (const [i, pieces] of cuts) split(nodes[i], pieces, sentences, made);
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

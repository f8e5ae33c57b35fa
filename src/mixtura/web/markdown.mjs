// A text of a model's on the page: rendered as it grows, a slice at a time where it is long.
import { html, useLayoutEffect, useRef } from "./base.mjs";
import { fragment, join, lexed, parts } from "./blocks.mjs";
import { typesetAll } from "./maths.mjs";

const SLICE = 12; // milliseconds of work before the page may answer
const MOST = 36; // of them, where drawing what was made takes longer than making it
const LONG = 30000; // characters from which on what is not seen is not laid out

const rest = () => (globalThis.scheduler?.yield ? scheduler.yield() : new Promise((done) => setTimeout(done)));

let began = 0; // of the slice that all texts of the page share: fifty turns are opened at once
let slice = SLICE;
let showing = 0;

// Waits when a slice of time is used up; false where *root* shows something else by then.
export function breather(root) {
  const mine = root.turn;
  return async () => {
    if (performance.now() - began > slice) {
      const stopped = performance.now();
      await rest();
      began = performance.now();
      slice = Math.min(MOST, Math.max(SLICE, began - stopped));
    }
    return root.turn === mine;
  };
}

// The blocks that have to be made anew, and how many stay. While a text grows only its last ones
// can change: those before are not even read again. Null where *root* shows something else by now.
async function changes(root, source, live, goOn) {
  const known = root.blocks;
  const whole = known.findIndex((block) => !block.whole);
  const stay = Math.min(known.length - 2, whole < 0 ? Infinity : whole);
  if (live && stay > 0 && source.startsWith(root.source)) {
    const at = known[stay - 1].end;
    const more = await lexed(source.slice(at), goOn);
    return more && { stay, tokens: more.tokens.map((token) => ({ ...token, end: token.end + at })) };
  }
  const all = await lexed(source, goOn);
  if (!all) return null;
  const { tokens, links } = all;
  const anew = links !== root.links; // a link's address may stand at the end of the text
  root.links = links;
  let same = 0;
  while (!anew && same < tokens.length && known[same]?.whole && known[same].raw === tokens[same].raw) same += 1;
  return { stay: same, tokens: tokens.slice(same) };
}

// Render *text* into *root*; blocks that stayed as they were are not touched.
// True once all of it is there.
export async function show(root, text, live = false) {
  if (!showing) {
    began = performance.now();
    slice = SLICE;
  }
  showing += 1;
  try {
    return await showBlocks(root, text, live);
  } finally {
    showing -= 1;
  }
}

async function showBlocks(root, text, live) {
  const source = text.replace(/\r\n?/g, "\n");
  root.turn = (root.turn ?? 0) + 1;
  const goOn = breather(root);
  const known = (root.blocks ??= []);
  const formulas = (root.formulas ??= []);
  root.classList.toggle("long", source.length > LONG);
  const changed = await changes(root, source, live, goOn);
  if (!changed) return false;
  root.source = source;
  for (const old of known.splice(changed.stay)) for (const node of old.nodes) node.remove();
  for (const token of changed.tokens) {
    const block = { raw: token.raw, end: token.end, nodes: [], whole: false };
    known.push(block);
    for (const part of parts(token)) {
      if (!(await goOn())) return false;
      const made = fragment(part);
      formulas.push(...made.querySelectorAll("code[data-tex]"));
      if (block.nodes.length) join(block.nodes[0], made);
      else {
        block.nodes = [...made.childNodes];
        root.append(made);
      }
    }
    block.whole = true;
  }
  if (!live) orderHeadings(root);
  return typesetAll(formulas, goOn);
}

// A text's headings stand under the question's, and leave no level out, whatever the model did.
function orderHeadings(root) {
  let before = 2;
  for (const heading of root.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    before = Math.min(Number(heading.localName[1]) + 2, before + 1);
    heading.setAttribute("aria-level", before);
  }
}

const PACE = 100; // milliseconds between two renderings of a text that grows

export function Prose({ text, live = false, label, after, class: name = "" }) {
  const root = useRef(null);
  const last = useRef({ at: 0, timer: 0, took: 0, drawing: false });
  useLayoutEffect(() => {
    const state = last.current;
    const draw = async () => {
      if (live && state.drawing) {
        state.timer = setTimeout(draw, PACE);
        return;
      }
      state.timer = 0;
      state.drawing = true;
      const began = performance.now();
      const done = await show(root.current, text, live);
      state.at = performance.now();
      state.took = state.at - began;
      state.drawing = false;
      if (done && !live && root.current) await after?.(root.current);
    };
    clearTimeout(state.timer);
    const wait = state.at + Math.max(PACE, state.took * 4) - performance.now();
    if (live && wait > 0) state.timer = setTimeout(draw, wait);
    else draw();
    return () => clearTimeout(state.timer);
  }, [text, live, after]);
  return html`<div ref=${root} class="prose ${name} ${live ? "live" : ""}" role=${label ? "group" : undefined} aria-label=${label}></div>`;
}

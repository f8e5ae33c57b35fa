// A model's name: typed, found in the list with its price, or named where it was nearly right.
import { html, useEffect, useId, useLayoutEffect, useRef, useState } from "./base.mjs";
import { dollars, short } from "./format.mjs";
import { pieces, t } from "./language.mjs";
import { plan, setup } from "./page_state.mjs";

// Dollars per million tokens, in a few words.
function priceWords(price) {
  if (!price) return t("price.unknown");
  return price.every((each) => each === 0) ? t("price.free") : t("price.tokens", { read: dollars(price[0]), written: dollars(price[1]) });
}

// Every name that can be asked here, and what it costs.
function nameable() {
  const { models = [], mixtures = [] } = setup.value ?? {};
  const rows = models.filter((one) => !one.problem).map((one) => ({ name: one.name, told: priceWords(one.price) }));
  const seen = new Set(rows.map((row) => row.name));
  return [...rows, ...mixtures.filter((one) => !one.problem && !seen.has(one.name)).map((one) => ({ name: one.name, told: t("models.mixture", { calls: t("calls", { n: one.calls }) }) }))];
}

function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length];
}

// The name that was probably meant. A name that the server refuses may be further away than one
// that it would ask its provider for.
export function nearMiss(typed, names, refused) {
  const text = typed.trim().toLowerCase();
  if (text.length < 2 || text.length > 200 || names.includes(typed.trim())) return null;
  const far = refused ? Math.max(1, Math.floor(text.length * 0.4)) : Math.min(2, Math.floor(text.length / 5));
  const rated = names.map((name) => ({ name, off: Math.min(distance(text, name.toLowerCase()), distance(text, short(name).toLowerCase())) }));
  const best = rated.reduce((one, other) => (other.off < one.off ? other : one), { off: Infinity });
  return best.off <= far ? best.name : null;
}

function found(rows, typed) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const first = (row) => (short(row.name).toLowerCase().startsWith(words[0] ?? "") ? 0 : 1);
  return rows.filter((row) => words.every((word) => row.name.toLowerCase().includes(word))).sort((a, b) => first(a) - first(b));
}

export function ModelField({ value, label, put }) {
  const [list, setList] = useState(null); // { all, at } while it is open
  const box = useRef(null);
  const shown = useRef(null);
  const id = useId();
  const rows = list ? (list.all ? nameable() : found(nameable(), value)) : [];
  const open = rows.length > 0 && !(rows.length === 1 && rows[0].name === value);
  const at = Math.min(list?.at ?? -1, rows.length - 1);
  const choose = (name) => {
    put(name);
    setList(null);
  };
  useLayoutEffect(() => {
    if (!open) return undefined;
    const place = () => {
      const { top, bottom, left, width } = box.current.getBoundingClientRect();
      const below = innerHeight - bottom;
      const up = below < 240 && top > below;
      Object.assign(shown.current.style, { left: `${Math.max(8, Math.min(left, innerWidth - 288))}px`, minWidth: `${Math.max(width, 280)}px`, maxHeight: `${Math.min(280, (up ? top : below) - 12)}px`, top: up ? "auto" : `${bottom + 4}px`, bottom: up ? `${innerHeight - top + 4}px` : "auto" });
    };
    shown.current.showPopover();
    place();
    addEventListener("scroll", place, true);
    addEventListener("resize", place);
    const moved = new ResizeObserver(place); // a message below may push the field up
    moved.observe(box.current.closest("form") ?? document.body);
    return () => {
      moved.disconnect();
      removeEventListener("scroll", place, true);
      removeEventListener("resize", place);
    };
  }, [open]);
  useEffect(() => {
    shown.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }, [at]);
  const keys = (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const by = event.key === "ArrowDown" ? 1 : -1;
      setList(open ? { ...list, at: (at + by + rows.length) % rows.length } : { all: true, at: Math.max(0, nameable().findIndex((row) => row.name === value)) });
    } else if (event.key === "Escape" && open) {
      event.stopPropagation();
      setList(null);
    } else if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault(); // a name is not a question
      if (open && at >= 0) choose(rows[at].name);
    }
  };
  const names = nameable().map((row) => row.name);
  const near = open ? null : nearMiss(value, names, plan.value.state === "error" && plan.value.error?.includes(value.trim()));
  return html`<span class="modelfield"><input type="text" ref=${box} role="combobox" aria-label=${label} aria-autocomplete="list" aria-expanded=${open} aria-controls=${open ? id : undefined} aria-activedescendant=${open && at >= 0 ? `${id}-${at}` : undefined}
      value=${value} spellcheck=${false} autocomplete="off" onKeyDown=${keys} onBlur=${() => setList(null)} onClick=${() => !list && setList({ all: true, at: -1 })}
      onInput=${(event) => { put(event.target.value); setList({ all: false, at: -1 }); }} />
    ${open && html`<ul class="modellist" popover="manual" role="listbox" id=${id} ref=${shown} aria-label=${t("models.list")} onMouseDown=${(event) => event.preventDefault()}>
      ${rows.map((row, i) => html`<li role="option" id=${`${id}-${i}`} key=${row.name} aria-selected=${i === at} onClick=${() => choose(row.name)}><span>${row.name}</span><small>${row.told}</small></li>`)}</ul>`}
    ${near && html`<small class="near" role="status">${pieces("models.near", { name: html`<button type="button" onClick=${() => choose(near)}>${near}</button>` })}</small>`}
  </span>`;
}

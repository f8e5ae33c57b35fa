// What every other module needs: markup, signals, small tools of the browser.
import htm from "htm";
import { h, render, Fragment } from "preact";
import { useEffect, useLayoutEffect, useRef, useState, useMemo, useId } from "preact/hooks";
import { signal, computed, effect, batch, useSignal, useComputed } from "@preact/signals";
import { t } from "./language.mjs";

export const html = htm.bind(h);
export { render, Fragment, useEffect, useLayoutEffect, useRef, useState, useMemo, useId };
export { signal, computed, effect, batch, useSignal, useComputed };

// True in an exported run: nothing can be asked there, and nothing is fetched.
export const frozen = "frozen" in document.documentElement.dataset;

// One sentence at a time for whoever listens instead of looking.
export const spoken = signal("");
export function say(sentence) {
  spoken.value = spoken.value === sentence ? `${sentence}\u00a0` : sentence;
}

// A short word at the bottom of the window.
export const toast = signal(null);
let toastTimer;
export function tell(text) {
  clearTimeout(toastTimer);
  toast.value = text;
  say(text);
  toastTimer = setTimeout(() => (toast.value = null), 2600);
}

// Which dialog is open: { kind, ... } or null.
export const dialog = signal(null);

export async function copy(text, what = t("copied")) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  tell(what);
}

// The width of an element as it changes.
export function useWidth(ref, first = 0) {
  const [width, setWidth] = useState(first);
  useLayoutEffect(() => {
    const seen = new ResizeObserver(([entry]) => setWidth(Math.round(entry.contentRect.width)));
    setWidth(Math.round(ref.current.clientWidth));
    seen.observe(ref.current);
    return () => seen.disconnect();
  }, []);
  return width;
}

// Time as a running call's card shows it; ticks only while somebody needs it.
export const now = signal(performance.now() / 1000);
let needed = 0;
let ticker;
export function useClock(wanted) {
  useEffect(() => {
    if (!wanted) return undefined;
    if (!needed++) ticker = setInterval(() => (now.value = performance.now() / 1000), 100);
    return () => {
      if (!--needed) clearInterval(ticker);
    };
  }, [wanted]);
  return wanted ? now.value : 0;
}

const shapes = {
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M5.5 5.5v-2h7v7h-2M3.5 5.5h7v7h-7z",
  check: "M3 8.5l3.2 3.2L13 5",
  stop: "M4.5 4.5h7v7h-7z",
  up: "M8 13V3.5M4 7.2L8 3.2l4 4",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.4 10.4L13.5 13.5",
  trash: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.6 9h5.8l.6-9",
  share: "M8 10V2.5M5 5l3-3 3 3M3.5 8.5v5h9v-5",
  sun: "M8 10.6a2.6 2.6 0 1 0 0-5.2 2.6 2.6 0 0 0 0 5.2zM8 1.6v1.2M8 13.2v1.2M1.6 8h1.2M13.2 8h1.2M3.5 3.5l.8.8M11.7 11.7l.8.8M3.5 12.5l.8-.8M11.7 4.3l.8-.8",
  moon: "M13 9.4A5.4 5.4 0 0 1 6.6 3a5.4 5.4 0 1 0 6.4 6.4z",
  columns: "M2.5 3h11v10h-11zM8 3v10",
  half: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11z",
  marks: "M2.5 4.5h7M2.5 8h11M2.5 11.5h5",
  chevron: "M4.5 6.5L8 10l3.5-3.5",
  tune: "M2.5 5h5M11.5 5h2M2.5 11h2M8.5 11h5M9.5 3.2v3.6M6.5 9.2v3.6",
  edit: "M3 13l.6-2.8L10.8 3l2.2 2.2-7.2 7.2z",
  warn: "M8 2.5l6 11H2zM8 6.8v3M8 11.6v.2",
  again: "M13 8a5 5 0 1 1-1.6-3.7M13 2.5v3h-3",
  clip: "M12.5 7.5l-4.8 4.8a2.9 2.9 0 0 1-4.1-4.1l5-5a1.9 1.9 0 0 1 2.7 2.7l-4.9 4.9a.9.9 0 0 1-1.3-1.3l4.4-4.4",
  lock: "M4 7.5h8v6H4zM5.7 7.5V5.3a2.3 2.3 0 0 1 4.6 0v2.2",
};
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d=${shapes[name]} /></svg>`;
}

export function Mark() {
  return html`<svg class="logo" viewBox="0 0 24 24" aria-hidden="true">
    <path class="c0" d="M5 6C5 12 12 11 12 17" /><path class="c1" d="M12 6V17" /><path class="c2" d="M19 6C19 12 12 11 12 17" />
    <circle class="c0" cx="5" cy="5.2" r="2.2" /><circle class="c1" cx="12" cy="5.2" r="2.2" /><circle class="c2" cx="19" cy="5.2" r="2.2" />
    <circle class="ink" cx="12" cy="18.6" r="2.8" />
  </svg>`;
}

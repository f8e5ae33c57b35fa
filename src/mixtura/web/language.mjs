// Which language the page speaks, and its words: one file a language, in `words/`.
import { signal } from "@preact/signals";
import english from "./words/en.mjs";

// By its tag what a language calls itself, and where its words are.
const files = {
  en: { name: "English", load: async () => english },
  de: { name: "Deutsch", load: async () => (await import("./words/de.mjs")).default },
};

export const languages = Object.entries(files).map(([tag, { name }]) => ({ tag, name }));
export const language = signal("en");
// No signals: a component that reads one is drawn anew only for signals, and runs change without.
// Whoever draws the page draws all of it anew when `language` changes.
let words = english;
let locale = "en"; // how numbers and dates are written: "de-AT" in German, say
let plurals = new Intl.PluralRules("en");
let numbers = new Intl.NumberFormat("en");

const spoken = (tag) => tag.toLowerCase().split("-")[0];
const wishes = () => navigator.languages ?? [];

// The first language that the browser asks for and that the page has.
function firstWish() {
  return wishes().map(spoken).find((tag) => Object.hasOwn(files, tag)) ?? "en";
}

const CHOICE = "mixtura.language";

function chosen() {
  try {
    const tag = localStorage.getItem(CHOICE);
    return tag && Object.hasOwn(files, tag) ? tag : null;
  } catch {
    return null; // storage is forbidden here
  }
}

async function speak(tag) {
  let found;
  try {
    found = await files[tag].load();
  } catch {
    [tag, found] = ["en", english]; // its file cannot be had: what is there has to do
  }
  const written = wishes().find((wish) => spoken(wish) === tag) ?? tag;
  words = found;
  locale = written;
  plurals = new Intl.PluralRules(written);
  numbers = new Intl.NumberFormat(written);
  language.value = tag;
  document.documentElement.lang = tag;
  // What a browser shows of the page before it is opened as an app.
  document.querySelector("meta[name=description]")?.setAttribute("content", t("page.description"));
  document.querySelector("link[rel=manifest]")?.setAttribute("href", `./manifest${tag === "en" ? "" : `.${tag}`}.webmanifest`);
}

export const localeNow = () => locale;

// The language of the first paint: the one that was chosen here, or the browser's.
export const speakFirst = () => speak(chosen() ?? firstWish());

// Another language, from now on. The browser's own is no choice: it is followed.
export async function chooseLanguage(tag) {
  try {
    if (tag === firstWish()) localStorage.removeItem(CHOICE);
    else localStorage.setItem(CHOICE, tag);
  } catch {
    // it holds until the page is left
  }
  await speak(tag);
}

function entry(key, values) {
  const found = words[key] ?? english[key] ?? key;
  return typeof found === "string" ? found : (found[plurals.select(values.n)] ?? found.other);
}

const shown = (value) => (typeof value === "number" ? numbers.format(value) : (value ?? "–"));

// The words of a key, with *values* in the places of their names; *n* chooses between forms.
export function t(key, values = {}) {
  return entry(key, values).replace(/\{(\w+)\}/g, (_, name) => shown(values[name]));
}

// The same as pieces to render, where a value is markup.
export function pieces(key, values) {
  return entry(key, values).split(/\{(\w+)\}/).map((piece, i) => (i % 2 ? shown(values[piece]) : piece));
}

// The word for something that the server names; *told*, its own, where there is none.
export function named(kind, name, told = name) {
  const key = `${kind}.${name}`;
  return words[key] ?? english[key] ?? told;
}

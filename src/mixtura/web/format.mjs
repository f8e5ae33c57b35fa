// Numbers and names as people read them, in the language of the page.
import { localeNow, named, t } from "./language.mjs";

const made = new Map(); // what writes numbers and dates: making one takes longer than using it

function writer(Kind, options) {
  const key = `${localeNow()}${Kind.name}${JSON.stringify(options)}`;
  if (!made.has(key)) made.set(key, new Kind(localeNow(), options));
  return made.get(key);
}

export const fixed = (value, digits) =>
  writer(Intl.NumberFormat, { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false }).format(value);

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.9995) return t("time.milliseconds", { n: Math.max(0, Math.round(value * 1000)) });
  if (value < 60) return t("time.seconds", { n: fixed(value, value < 10 ? 2 : 1) });
  const whole = Math.round(value);
  return t("time.minutes", { minutes: Math.floor(whole / 60), seconds: String(whole % 60).padStart(2, "0") });
}

const money = (value, least, most = least) =>
  writer(Intl.NumberFormat, { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", minimumFractionDigits: least, maximumFractionDigits: most }).format(value);

// Dollars; null is a price that nobody knows, which is not zero.
export function dollars(value) {
  if (value === null || value === undefined) return t("cost.unknown");
  if (value === 0) return money(0, 0);
  if (value < 0.000001) return t("cost.less_than", { most: money(0.000001, 6) });
  if (value < 0.1) return money(Number(value.toPrecision(value < 0.001 ? 1 : 2)), 0, 7);
  return money(value, 2);
}

// The most that something can cost, as the server says it.
export function most(value) {
  if (value === null) return t("price.unknown");
  return value === 0 ? t("price.free") : t("price.at_most", { most: dollars(value) });
}

export function number(value) {
  return value === null || value === undefined ? "–" : writer(Intl.NumberFormat, {}).format(Math.round(value));
}

export function percent(value) {
  return value === null || value === undefined ? "–" : t("number.percent", { n: Math.round(value * 100) });
}

export function times(value) {
  return t("number.fold", { n: fixed(value, value >= 10 ? 0 : 1) });
}

export function megabytes(value) {
  return value >= 1e9 ? t("number.gigabytes", { n: fixed(value / 1e9, 1) }) : t("number.megabytes", { n: Math.round(value / 1e6) });
}

// What is in the way, as the server says it; keys that are missing in the words of the page.
export function hindrance(problem) {
  const names = /^needs (\w+(?: and \w+)*)$/.exec(problem ?? "")?.[1].split(" and ");
  return names ? t("composer.lacks", { n: names.length, names: writer(Intl.ListFormat, {}).format(names) }) : problem;
}

// The last part of a long name; the whole stands in its title.
export function short(model) {
  return (model ?? "").split("/").pop() || model || "–";
}

// What the last seat of a mixture does, by the mixture's pattern, as the server says it.
const endings = {};

export function learnEndings(patterns) {
  Object.assign(endings, patterns);
}

export function ending(pattern) {
  const { does, said, help } = endings[pattern] ?? { does: "aggregator", said: "writes the answer", help: "" };
  return { writes: does === "aggregator", does: named("does", does), said: named("said", pattern, named("said", does, said)), help };
}

// ---- dates

const written = (date, options) => writer(Intl.DateTimeFormat, options).format(date);

export const when = (iso) => written(new Date(iso), { dateStyle: "medium", timeStyle: "short" });
export const clock = (iso) => written(new Date(iso), { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export function day(iso) {
  const date = new Date(iso);
  const midnight = new Date().setHours(0, 0, 0, 0);
  const days = Math.ceil((midnight - date) / 86400000);
  if (days <= 0) return t("day.today");
  if (days === 1) return t("day.yesterday");
  if (days < 7) return written(date, { weekday: "long" });
  return written(date, { month: "long", day: "numeric", year: "numeric" });
}

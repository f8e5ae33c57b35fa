// Numbers and names as people read them.

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.9995) return `${Math.max(0, Math.round(value * 1000))} ms`;
  if (value < 10) return `${value.toFixed(2)} s`;
  if (value < 60) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  return `${Math.floor(whole / 60)} m ${String(whole % 60).padStart(2, "0")} s`;
}

// Dollars; null is a price that nobody knows, which is not zero.
export function dollars(value) {
  if (value === null || value === undefined) return "unknown";
  if (value === 0) return "$0";
  if (value < 0.000001) return "< $0.000001";
  if (value < 0.1) return `$${Number(value.toPrecision(value < 0.001 ? 1 : 2)).toFixed(7).replace(/0+$/, "")}`;
  return `$${value.toFixed(2)}`;
}

export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

const grouped = new Intl.NumberFormat("en");

export function number(value) {
  return value === null || value === undefined ? "–" : grouped.format(Math.round(value));
}

export function percent(value) {
  return value === null || value === undefined ? "–" : `${Math.round(value * 100)} %`;
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
  return endings[pattern] ?? { does: "aggregator", said: "writes the answer", help: "" };
}

export function times(value) {
  return `${value >= 10 ? Math.round(value) : value.toFixed(1)} ×`;
}

export function when(iso) {
  const date = new Date(iso);
  return date.toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
}

export function clock(iso) {
  return new Date(iso).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hour12: false });
}

export function day(iso) {
  const date = new Date(iso);
  const midnight = new Date().setHours(0, 0, 0, 0);
  const days = Math.ceil((midnight - date) / 86400000);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days < 7) return date.toLocaleDateString("en", { weekday: "long" });
  return date.toLocaleDateString("en", { month: "long", day: "numeric", year: "numeric" });
}

// A seat of a team: its model, its persona, its sampling; and the fields where they are written.
import { html, Icon, useState } from "./base.mjs";
import { t } from "./language.mjs";

// What is said of a seat besides its model and its draws; nothing that is empty.
export function settingsOf({ persona, sampling, variants }) {
  const said = Object.fromEntries(Object.entries(sampling ?? {}).filter(([, value]) => value !== null && value !== undefined));
  return {
    ...(persona?.trim() ? { persona: persona.trim() } : {}),
    ...(Object.keys(said).length ? { sampling: said } : {}),
    ...(variants?.length ? { variants } : {}),
  };
}

// A seat as the server takes it. A name alone keeps what the mixture's own *seats* of that model say.
export function writeSeat({ samples, ...row }, seats) {
  const model = row.model.trim();
  const settings = settingsOf(row);
  const named = !Object.keys(settings).length && !seats.some((seat) => seat.model === model && Object.keys(settingsOf(seat)).length);
  if (!named) return { model, samples, ...settings };
  return samples > 1 ? `${model}*${samples}` : model;
}

export function readSeat(seat) {
  if (typeof seat !== "string") return { samples: 1, ...seat };
  const [, model, samples] = /^(.*?)(?:\*(\d+))?$/s.exec(seat);
  return { model, samples: Number(samples ?? 1) };
}

const numbers = [
  { key: "temperature", most: 5, least: 0, step: 0.1 },
  { key: "top_p", most: 1, least: 0, step: 0.05 },
  { key: "max_tokens", most: 10000000, least: 1, step: 1 },
];

// In a line, what the seat is told; empty where it is told nothing.
export function seatSummary(seat) {
  const { persona, sampling = {}, variants } = settingsOf(seat);
  const told = numbers.filter(({ key }) => key in sampling).map(({ key }) => t(`seat.said_${key}`, { value: sampling[key] }));
  if (variants) told.unshift(t("seat.said_variants", { n: variants.length }));
  if (persona) told.unshift(t("seat.said_persona", { persona: persona.length > 60 ? `${persona.slice(0, 59)}…` : persona }));
  return told.join(", ");
}

// The button and the fields of a seat's persona and sampling; *who* names it in labels.
export function useSeatSettings({ seat, who, put }) {
  const [open, setOpen] = useState(false);
  const id = `seat-${who.replace(/\W+/g, "-")}`;
  const said = seatSummary(seat);
  const button = html`<button type="button" class="quiet icon-only ${said ? "on" : ""}" aria-label=${t("seat.settings_of", { who })} title=${t("seat.settings")} aria-expanded=${open} aria-controls=${open ? id : undefined} onClick=${() => setOpen(!open)}><${Icon} name="tune" /></button>`;
  const fields = open
    ? html`<div class="seatsettings" id=${id} role="group" aria-label=${t("seat.settings_of", { who })}>
      <label class="field"><span>${t("seat.persona")}</span><textarea rows="2" dir="auto" placeholder=${t("seat.persona_hint")} value=${seat.persona ?? ""} onInput=${(event) => put({ persona: event.target.value })}></textarea></label>
      <div class="seatnumbers">${numbers.map(({ key, least, most, step }) => html`<label class="field"><span>${t(`seat.${key}`)}</span><input type="number" min=${least} max=${most} step=${step} placeholder=${t("seat.usual")} value=${seat.sampling?.[key] ?? ""} onInput=${(event) => put({ sampling: { ...seat.sampling, [key]: event.target.value === "" ? undefined : Number(event.target.value) } })} /></label>`)}</div>
    </div>`
    : said && html`<p class="seatsaid">${said}</p>`;
  return { button, fields };
}

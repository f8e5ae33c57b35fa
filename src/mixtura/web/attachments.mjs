// Pictures and text files that go with a question: chosen, pasted or dropped.
import { html, Icon, signal, tell, useRef, useState } from "./base.mjs";
import { t } from "./language.mjs";

export const attached = signal([]); // { name, url } of a picture, { name, text } of a file

const MOST = 12; // files of one question
const LARGEST = 8_000_000; // bytes of one
const EDGE = 2048; // pixels of a picture's longer side, at most
const PICTURE = /^image\/(?:png|jpeg|gif|webp)$/;
const SHOWN = /^data:image\/(?:png|jpeg|gif|webp);base64,[a-z0-9+/=]+$/i;

const read = (file) =>
  new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(new Error(t("files.unreadable")));
    reader.readAsDataURL(file);
  });

// A large photograph as one that models read: no model sees more than this of it.
async function picture(file) {
  const whole = await createImageBitmap(file);
  const scale = EDGE / Math.max(whole.width, whole.height);
  if (scale >= 1 && file.size < LARGEST / 4) return read(file);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [whole.width, whole.height].map((side) => Math.max(1, Math.round(side * Math.min(1, scale))));
  canvas.getContext("2d").drawImage(whole, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.9);
}

async function words(file) {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  if (text.includes("\0")) throw new Error(t("files.no_text"));
  return text;
}

async function attachOne(file) {
  if (attached.value.length >= MOST) throw new Error(t("files.many", { n: MOST }));
  if (!PICTURE.test(file.type) && file.size > LARGEST) throw new Error(t("files.large"));
  try {
    const made = PICTURE.test(file.type) ? { url: await picture(file) } : { text: await words(file) };
    attached.value = [...attached.value, { name: file.name || t("files.pasted"), ...made }];
  } catch (error) {
    throw error instanceof TypeError || error instanceof DOMException ? new Error(t("files.wrong_kind")) : error;
  }
}

export async function attach(files) {
  for (const file of files) {
    try {
      await attachOne(file);
    } catch (error) {
      tell(t("files.refused", { name: file.name || t("files.this"), why: error.message }));
    }
  }
}

// The question with its files before it, as `mixtura ask --file` writes it.
export function withFiles(question, files = attached.value) {
  const texts = files.filter((one) => one.text !== undefined);
  const shown = (name) => name.replaceAll('"', "'").replace(/\s+/g, " ");
  return texts.map((one) => `<file name="${shown(one.name)}">\n${one.text.trimEnd()}\n</file>\n\n`).join("") + question;
}

export const pictureParts = (files = attached.value) =>
  files.filter((one) => one.url).map((one) => ({ type: "image_url", image_url: { url: one.url } }));

// A message's content: its text, and its pictures where it has some.
export function contentOf(text, pictures = []) {
  const there = pictures.filter((part) => SHOWN.test(part.image_url?.url ?? "")); // records keep none
  return there.length ? [{ type: "text", text }, ...there] : text;
}

// What stands before a question: the names of its files; and the question itself.
export function filesIn(text) {
  const names = [];
  let rest = text;
  for (;;) {
    const found = /^<file name="([^"\n]*)">\n[^]*?\n<\/file>\n\n/.exec(rest);
    if (!found) return { names, rest };
    names.push(found[1]);
    rest = rest.slice(found[0].length);
  }
}

export function Pictures({ parts }) {
  const all = (parts ?? []).map((part) => part.image_url?.url ?? "");
  if (!all.length) return null;
  return html`<div class="pictures">${all.map((url, i) => (SHOWN.test(url) ? html`<img src=${url} alt=${t("files.picture", { n: i + 1 })} />` : html`<span class="chip">${t("files.not_kept")}</span>`))}</div>`;
}

export function Attached() {
  if (!attached.value.length) return null;
  const drop = (one) => (attached.value = attached.value.filter((other) => other !== one));
  return html`<ul class="attached" aria-label=${t("files.attached")}>${attached.value.map((one) => html`<li>
    ${one.url ? html`<img src=${one.url} alt="" />` : html`<${Icon} name="marks" />`}<span title=${one.name}>${one.name}</span>
    <button type="button" class="quiet icon-only" aria-label=${t("files.remove", { name: one.name })} onClick=${() => drop(one)}><${Icon} name="close" /></button></li>`)}</ul>`;
}

export function AttachButton() {
  const box = useRef(null);
  const chosen = () => {
    attach([...box.current.files]);
    box.current.value = "";
  };
  return html`<input ref=${box} type="file" multiple hidden aria-hidden="true" tabindex="-1" onChange=${chosen} />
    <button type="button" class="pick" aria-label=${t("files.attach")} title=${t("files.attach_title")} onClick=${() => box.current.click()}><${Icon} name="clip" /></button>`;
}

// What takes files: the handlers of paste and drop, and whether files hang over it.
export function useDrop() {
  const [over, hover] = useState(false);
  const has = (data) => [...(data?.types ?? [])].includes("Files");
  return {
    over,
    onPaste: (event) => {
      if (!event.clipboardData?.files.length) return;
      event.preventDefault();
      attach([...event.clipboardData.files]);
    },
    onDragOver: (event) => {
      if (!has(event.dataTransfer)) return;
      event.preventDefault();
      hover(true);
    },
    onDragLeave: () => hover(false),
    onDrop: (event) => {
      if (!has(event.dataTransfer)) return;
      event.preventDefault();
      hover(false);
      attach([...event.dataTransfer.files]);
    },
  };
}

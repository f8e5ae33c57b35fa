// The key of whoever asks, and calls to the server in its name.
import { signal } from "./base.mjs";
import { headers, refused } from "./stream.mjs";

export const kept = {
  get: (name) => {
    try {
      return sessionStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set: (name, value) => {
    try {
      if (value === null) sessionStorage.removeItem(name);
      else sessionStorage.setItem(name, value);
    } catch {
      // not kept, then
    }
  },
};

export const key = signal(kept.get("mixtura.key"));
export const locked = signal(false); // a key is needed, or the one there is was refused

export async function call(path, { method = "GET", body, signal: stop } = {}) {
  const response = await fetch(path, {
    method, headers: headers(key.value), signal: stop, body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status === 401) locked.value = true;
  if (!response.ok) await refused(response);
  return response;
}

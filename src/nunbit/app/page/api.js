// Requests to the app on this machine. The key came with the address that the program opened; it
// lives in this tab only. Keys of sessions are kept in this browser, for this address.

const KEY = "nunbit.key";
const SESSION_KEYS = "nunbit.sessions";

export class ApiError extends Error {
  constructor(status, error) {
    super(error?.en ?? `HTTP ${status}`);
    this.status = status;
    this.code = error?.code ?? "unknown";
    this.texts = error?.ko ? error : null;
  }
}

/** Take the key from the address, and take the address out of sight. */
export function takeKey() {
  const found = /^#key=([^&]+)/.exec(location.hash);
  if (!found) return;
  sessionStorage.setItem(KEY, decodeURIComponent(found[1]));
  history.replaceState(null, "", location.pathname + "#/");
}

export const key = () => sessionStorage.getItem(KEY) ?? "";

export const setKey = (value) => sessionStorage.setItem(KEY, value);

function sessionKeys() {
  try { return JSON.parse(localStorage.getItem(SESSION_KEYS) ?? "{}"); } catch { return {}; }
}

export const sessionKey = (id) => sessionKeys()[id] ?? "";

export function keepSessionKey(id, value) {
  localStorage.setItem(SESSION_KEYS, JSON.stringify({ ...sessionKeys(), [id]: value }));
}

export function forgetSessionKey(id) {
  const { [id]: _, ...rest } = sessionKeys();
  localStorage.setItem(SESSION_KEYS, JSON.stringify(rest));
}

/** A request; the answer's JSON. Raises ApiError with the server's own words. */
export async function ask(method, path, body = undefined, { session = null, signal = undefined } = {}) {
  const headers = { Authorization: `Bearer ${key()}` };
  if (session) headers["X-Session-Key"] = sessionKey(session);
  let content = body;
  if (body !== undefined && !(body instanceof FormData)) {
    headers["Content-Type"] = "application/json";
    content = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: content, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, null);
  }
  const text = await answer.text();
  let value = null;
  try { value = text ? JSON.parse(text) : null; } catch { value = null; }
  if (!answer.ok) throw new ApiError(answer.status, value?.error ?? null);
  return value;
}

/** A request about one session, with its own key; another browser on this computer asks for the key once. */
export async function askSession(method, id, rest = "", body = undefined) {
  const path = `api/sessions/${encodeURIComponent(id)}`;
  try {
    return await ask(method, path + rest, body, { session: id });
  } catch (error) {
    if (error.code !== "session_key") throw error;
    let found;
    try { found = await ask("POST", `${path}/key`); } catch { throw error; }
    keepSessionKey(id, found.key);
    return ask(method, path + rest, body, { session: id });
  }
}

/** A picture of a session as an address that an img can show; forget it with URL.revokeObjectURL. */
export async function pictureOf(id, rest) {
  const answer = await fetch(`api/sessions/${encodeURIComponent(id)}${rest}`, {
    headers: { Authorization: `Bearer ${key()}`, "X-Session-Key": sessionKey(id) }, cache: "no-store",
  });
  if (!answer.ok) throw new ApiError(answer.status, (await answer.json().catch(() => null))?.error ?? null);
  return URL.createObjectURL(await answer.blob());
}

/** Upload a form to a session, telling how far it is (0 to 1). */
export function upload(id, form, told) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `api/sessions/${encodeURIComponent(id)}/recording`);
    request.setRequestHeader("Authorization", `Bearer ${key()}`);
    request.setRequestHeader("X-Session-Key", sessionKey(id));
    request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) told(event.loaded / event.total); });
    request.addEventListener("error", () => reject(new ApiError(0, null)));
    request.addEventListener("load", () => {
      let value = null;
      try { value = JSON.parse(request.responseText); } catch { value = null; }
      if (request.status < 400) resolve(value); else reject(new ApiError(request.status, value?.error ?? null));
    });
    request.send(form);
  });
}


/**
 * Open (a report) or download (all else) what a link cannot, because links carry no key: a ticket
 * is an address that works once.
 * @param {string} what `report`, `media`, `table:NAME`, `export:KIND`
 */
export async function openOf(id, what) {
  // The tab must be opened by the click itself, or the browser blocks it.
  const tab = what === "report" ? window.open("", "_blank") : null;
  try {
    const { url } = await askSession("POST", id, "/ticket", { what });
    const place = new URL(url, location.origin).href;
    if (tab) { tab.opener = null; tab.location.replace(place); return; }
    const link = document.createElement("a");
    link.href = place;
    link.download = "";
    document.body.append(link);
    link.click();
    link.remove();
  } catch (error) {
    tab?.close();
    throw error;
  }
}

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

/** A request about one session, with its own key. */
export const askSession = (method, id, rest = "", body = undefined) =>
  ask(method, `api/sessions/${encodeURIComponent(id)}${rest}`, body, { session: id });

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

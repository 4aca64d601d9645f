// Camera and microphone of the browser: opened together where both are there, else what there is,
// and said in words what is missing.

import { PICTURE_WISHES } from "./camera.js";
import { SOUND_WISHES } from "./sound.js";

const LOCK = "nunbit-live";

/** What keeps a device from opening, as the key of a text. */
export function reasonOf(error, which = "") {
  switch (error?.name) {
    case "NotAllowedError": case "SecurityError": return which ? `problem.refused_${which}` : "problem.refused";
    case "NotFoundError": case "OverconstrainedError": return which ? `problem.no_${which}` : "problem.none";
    case "NotReadableError": case "AbortError": return "problem.busy";
    default: return which ? `problem.no_${which}` : "problem.none";
  }
}

/**
 * Open what there is.
 * @returns {{stream: MediaStream|null, problems: string[]}} keys of texts about what is missing
 */
export async function openDevices({ camera = null, microphone = null, scope = { face: true, voice: true } } = {}) {
  if (!navigator.mediaDevices?.getUserMedia) return { stream: null, problems: ["problem.insecure"] };
  const video = scope.face && { ...PICTURE_WISHES, ...(camera ? { deviceId: { exact: camera } } : {}) };
  const audio = scope.voice && { ...SOUND_WISHES, ...(microphone ? { deviceId: { exact: microphone } } : {}) };
  try {
    return { stream: await navigator.mediaDevices.getUserMedia({ video, audio }), problems: [] };
  } catch (error) {
    const parts = [], problems = [];
    for (const [wish, which] of [[video && { video }, "camera"], [audio && { audio }, "microphone"]]) {
      if (!wish) continue;
      try { parts.push(await navigator.mediaDevices.getUserMedia(wish)); } catch (reason) { problems.push(reasonOf(reason, which)); }
    }
    if (!parts.length) return { stream: null, problems: [reasonOf(error)] };
    return { stream: new MediaStream(parts.flatMap((part) => part.getTracks())), problems: [...new Set(problems)] };
  }
}

/** One kind alone, to replace a device that went away. */
export const openOne = (kind, id = null) => navigator.mediaDevices.getUserMedia(
  kind === "video" ? { video: { ...PICTURE_WISHES, ...(id ? { deviceId: { exact: id } } : {}) } }
    : { audio: { ...SOUND_WISHES, ...(id ? { deviceId: { exact: id } } : {}) } });

/** Names of devices by kind, after permission was given. */
export async function listDevices() {
  const all = await navigator.mediaDevices.enumerateDevices();
  return { camera: all.filter((d) => d.kind === "videoinput"), microphone: all.filter((d) => d.kind === "audioinput") };
}

/** The one live view of this browser: a function that gives it back, or null where another tab has it. */
export async function takeLock() {
  if (!navigator.locks) return () => {};
  return new Promise((resolve) => {
    navigator.locks.request(LOCK, { ifAvailable: true }, (lock) => {
      if (!lock) { resolve(null); return undefined; }
      return new Promise((give) => resolve(give));
    });
  });
}

/** The cameras of this device: which there are, and how one is opened; what is in the way, as a sentence. */

/** Names of the errors of getUserMedia (Media Capture and Streams, section 10.2), and what a person does about them. */
const SENTENCES = {
  NotAllowedError:
    "The browser does not let this page use the camera. Allow it beside the address, or in the settings of your " +
    "phone or computer, and press Start again.",
  NotFoundError: "This device has no camera that the browser can see. Connect one and press Start again.",
  NotReadableError: "The camera is in use by another program, or does not answer. Close that program and press Start.",
  OverconstrainedError: "The camera that was chosen is not there any more. Choose another one and press Start.",
};
SENTENCES.SecurityError = SENTENCES.NotAllowedError;
SENTENCES.AbortError = SENTENCES.NotReadableError;

export const TAKEN_AWAY = "The camera was taken away: unplugged, or given to another program. Press Start to go on.";

const FACING = { user: "Front camera", environment: "Back camera" };

/** Whether the browser gives this page a camera at all; not over plain HTTP, but on localhost. */
export function isPossible() {
  return window.isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);
}

/** What can be chosen: [value, label] each. Before a camera was opened browsers do not say which there are. */
export async function listed() {
  const devices = isPossible() ? await navigator.mediaDevices.enumerateDevices() : [];
  const cameras = devices.filter((each) => each.kind === "videoinput" && each.deviceId && each.label);
  return [
    ["", "Any camera"],
    ...Object.entries(FACING),
    ...cameras.map((each) => [`device ${each.deviceId}`, each.label.slice(0, 64)]),
  ];
}

/**
 * Open a camera.
 *
 * @param {string} choice of `listed`
 * @param {number[]} size width and height as one holds the device across; held upright, browsers turn them
 * @returns {Promise<MediaStream>} broken with an Error whose message is for people
 */
export async function opened(choice, [width, height]) {
  const [kind, id] = choice.split(" ", 2);
  const which = kind === "device" ? { deviceId: { exact: id } } : kind ? { facingMode: { ideal: kind } } : {};
  try {
    const video = { ...which, width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } };
    return await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (error) {
    throw new Error(SENTENCES[error.name] ?? `The camera cannot be opened: ${error.message || error.name}.`);
  }
}

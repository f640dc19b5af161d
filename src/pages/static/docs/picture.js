// The picture to send: a file, a sample, or one that the camera takes now.

import { element } from "../shared/dom.js";

const FOLDER = "pages/docs/samples/";
const SAMPLES = [
  ["face.jpg", "a face"],
  ["digit.png", "a digit"],
  ["cat.jpg", "a cat"],
];

export class PictureField {
  constructor() {
    this.chosen = null;
    this.sample = SAMPLES[0][0];
    this.name = SAMPLES[0][0];
    this.preview = element("img", { class: "preview", alt: "", src: FOLDER + this.sample });
    this.video = element("video", { class: "preview", muted: true, playsinline: true, hidden: true });
    this.said = element("p", { class: "quiet small", role: "status" }, this.name);
    this.input = element("input", { type: "file", accept: "image/*", "aria-label": "A file of yours" });
    this.input.addEventListener("change", () => this.take(this.input.files[0]));
    this.camera = element("button", { type: "button", onclick: () => this.film() }, "Camera");
    this.view = element(
      "fieldset",
      { class: "picture" },
      element("legend", {}, "Picture"),
      element("div", { class: "preview-box" }, this.preview, this.video, this.said),
      element("div", { class: "choices" }, this.input, this.samples(), this.cameraOrWhyNot()),
    );
  }

  samples() {
    return SAMPLES.map(([file, shows]) => {
      const picture = element("img", { src: FOLDER + file, alt: "", width: 34, height: 34 });
      return element("button", { type: "button", onclick: () => this.useSample(file) }, picture, shows);
    });
  }

  cameraOrWhyNot() {
    if (navigator.mediaDevices) {
      return this.camera;
    }
    return element("p", { class: "quiet small" }, "Browsers give their camera to pages over HTTPS alone.");
  }

  /** The file to send. */
  async file() {
    if (this.chosen) {
      return this.chosen;
    }
    const response = await fetch(FOLDER + this.sample);
    return response.blob();
  }

  useSample(file) {
    this.sample = file;
    this.input.value = "";
    this.show(null, file, FOLDER + file);
  }

  /** Send this file from now on. */
  take(file) {
    if (file) {
      this.show(file, file.name, URL.createObjectURL(file));
    }
  }

  show(file, name, address) {
    this.stop();
    if (this.chosen) {
      URL.revokeObjectURL(this.preview.src);
    }
    this.chosen = file;
    this.name = name;
    this.preview.src = address;
    this.said.textContent = file ? `${name}, ${Math.ceil(file.size / 1000)} kB` : name;
    this.view.dispatchEvent(new Event("change", { bubbles: true }));
  }

  /** Show what the camera sees; the button takes the picture then. */
  async film() {
    if (this.video.srcObject) {
      this.shoot();
      return;
    }
    try {
      this.video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
    } catch (error) {
      this.said.textContent = `There is no picture of the camera: ${error.message}.`;
      return;
    }
    await this.video.play();
    this.video.hidden = false;
    this.preview.hidden = true;
    this.camera.textContent = "Take the picture";
  }

  shoot() {
    const { videoWidth: width, videoHeight: height } = this.video;
    const canvas = element("canvas", { width, height });
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    canvas.toBlob((blob) => this.take(new File([blob], "camera.jpg", { type: blob.type })), "image/jpeg", 0.9);
  }

  /** Let go of the camera. */
  stop() {
    for (const track of this.video.srcObject?.getTracks() ?? []) {
      track.stop();
    }
    this.video.srcObject = null;
    this.video.hidden = true;
    this.preview.hidden = false;
    this.camera.textContent = "Camera";
  }
}

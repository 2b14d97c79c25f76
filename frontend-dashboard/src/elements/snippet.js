/** `<coh-snippet>`: text to paste somewhere else, with a button that copies it. */

import { copyText, el, fill, icon } from "../dom.js";

export class Snippet extends HTMLElement {
  #code = el("code");
  #text = "";

  /** @param {string | (() => string)} text a function is asked at the moment of copying */
  set text(text) {
    this.#text = text;
    this.#code.textContent = typeof text === "function" ? text() : text;
  }

  connectedCallback() {
    this.classList.add("snippet");
    const button = el(
      "button",
      { class: "button small", on: { click: () => this.#copy(button) } },
      icon("copy"),
      "Copy",
    );
    this.replaceChildren(
      el("pre", { tabIndex: 0, "aria-label": this.getAttribute("label") ?? "Snippet", role: "region" }, this.#code),
      button,
    );
  }

  async #copy(button) {
    const text = typeof this.#text === "function" ? this.#text() : this.#text;
    this.#code.textContent = text;
    const copied = await copyText(text);
    if (copied) this.dispatchEvent(new Event("coh-copied", { bubbles: true }));
    fill(button, icon(copied ? "check" : "warning"), copied ? "Copied" : "Select and copy");
    setTimeout(() => fill(button, icon("copy"), "Copy"), 1800);
  }
}

/** A snippet of this text. */
export function snippet(text, label) {
  const node = new Snippet();
  node.setAttribute("label", label);
  node.text = text;
  return node;
}

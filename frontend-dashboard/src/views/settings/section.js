/** A card of Settings that loads itself, and itself alone anew after a change: what is typed beside it stays. */

import { el, fill, wait } from "../../dom.js";
import { emptyState, failedState, loadingState } from "../../elements/states.js";
import { Refresher } from "../../state/refresher.js";

/**
 * @param {string} title
 * @param {(section: Section, signal: AbortSignal) => Promise<Node|Node[]>} load
 *
 * @typedef {object} Section
 * @property {Node} card
 * @property {(action: () => Promise<void>, words: string) => Promise<void>} change does it, says so, or what failed,
 * and shows what holds now
 * @property {() => Promise<void>} reload
 */
export function section(app, title, signal, load) {
  const heading = el("h2", { class: "section-title", tabIndex: -1 }, title);
  const body = el("div", {}, loadingState());
  const part = { card: card(heading, body), reload: () => refresher.restart(), change };
  const refresher = new Refresher(
    async (ended) => {
      const content = await load(part, ended);
      return () => {
        const { activeElement } = document;
        const inside = body.contains(activeElement);
        fill(body, content);
        if (!inside) return;
        const label = activeElement.getAttribute("aria-label");
        const same = [...body.querySelectorAll("[aria-label]")].find(
          (node) => node.getAttribute("aria-label") === label,
        );
        (same ?? heading).focus(); // what had the focus is gone, or made anew
      };
    },
    (error) => fill(body, failedState(error, { retry: part.reload })),
  );
  async function change(action, words) {
    try {
      await action();
      app.toast(words);
    } catch (error) {
      app.toast(error.message, { bad: true });
    }
    if (!signal.aborted) await part.reload();
  }
  signal.addEventListener("abort", () => refresher.stop());
  part.reload();
  return part;
}

const REFRESH_MS = 10_000;

/** The section is as it is now each few seconds, until `signal` ends, but while something in it is open. */
export async function refreshing(part, signal) {
  try {
    for (;;) {
      await wait(REFRESH_MS, signal);
      if (!document.hidden && !part.card.querySelector(":popover-open")) await part.reload();
    }
  } catch {
    // the view was left
  }
}

export function card(...content) {
  return el("section", { class: "card" }, content);
}

/** What a role may not see is said, and not asked for. */
export function notForRole(app, title, text) {
  return card(emptyState(title, `${text} Your role in ${app.session.organisation.name} is ${app.session.role}.`));
}

/** A form that is sent by `send`; what that throws is told in it. */
export function form(send, fields, { stack = false } = {}) {
  const trouble = el("p", { class: "form-trouble", role: "alert" });
  return el(
    "form",
    {
      class: "stack",
      on: {
        submit: async (event) => {
          event.preventDefault();
          trouble.textContent = "";
          try {
            await send(new FormData(event.target), event.target);
          } catch (error) {
            trouble.textContent = error.message;
          }
        },
      },
    },
    stack ? fields : el("div", { class: "row-form" }, fields),
    trouble,
  );
}

export function field(words, control, { grow = false } = {}) {
  return el("label", { class: grow ? "field grow" : "field" }, el("span", {}, words), control);
}

export function textInput(properties) {
  return el("input", { class: "input", required: true, autocomplete: "off", ...properties });
}

/** A choice among `[value, words]`. */
export function choice(properties, options, chosen = "") {
  return el(
    "select",
    { class: "select", ...properties },
    options.map(([value, words]) => el("option", { value, selected: value === chosen }, words)),
  );
}

export function dangerButton(words, act) {
  return el("button", { class: "button small plain danger", on: { click: act } }, words);
}

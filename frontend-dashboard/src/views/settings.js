/** Settings: who belongs to the organisation, which keys there are, what was changed by whom, and how one signs in. */

import { el, fill } from "../dom.js";
import { viewHead } from "../elements/shell.js";
import { auditSections } from "./settings/audit.js";
import { keySections } from "./settings/keys.js";
import { memberSections } from "./settings/members.js";
import { organisationSections } from "./settings/organisations.js";
import { signInSections } from "./settings/sign_in.js";

const PLACES = [
  ["members", "Members", memberSections],
  ["keys", "API keys", keySections],
  ["audit", "Audit log", auditSections],
  ["organisation", "Organisation", organisationSections],
  ["signin", "Sign-in", signInSections],
];

export class SettingsView extends HTMLElement {
  /** @type {import("../app.js").App} */
  app;
  #ended = null;
  #links = PLACES.map(([name, words]) => el("a", { class: "tab", href: `#/settings/${name}` }, words));
  #body = el("div", { class: "settings-body" });

  connectedCallback() {
    this.replaceChildren(
      viewHead("Settings", ""),
      el("nav", { class: "tabs", "aria-label": "Settings" }, this.#links),
      this.#body,
    );
    this.routeChanged();
  }

  disconnectedCallback() {
    this.#ended?.abort();
  }

  routeChanged() {
    const at = PLACES.findIndex(([name]) => name === this.app.route.path[1]);
    const shown = Math.max(at, 0);
    this.#links.forEach((link, index) => {
      if (index === shown) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    });
    this.#ended?.abort();
    this.#ended = new AbortController();
    fill(this.#body, PLACES[shown][2](this.app, this.#ended.signal));
  }
}

/** `<coh-shell>`: the frame around every view: where one can go, who one is, and the keyboard. */

import { el, fill, icon } from "../dom.js";
import { chooseTheme, themeChoice } from "../state/theme.js";
import { firstSteps, watchFirstSample } from "./first_steps.js";
import { keysDialog } from "./keys_dialog.js";
import { parseHash } from "../state/url.js";
import { popover } from "./popover.js";

const PLACES = [
  ["overview", "Overview", "o"],
  ["explore", "Explore", "e"],
  ["analysis", "Analysis", "a"],
  ["events", "Events", "v"],
  ["add", "Add data", "d"],
  ["usage", "Usage", "u"],
  ["settings", "Settings", "s"],
];
export class Shell extends HTMLElement {
  #app = null;
  #main = el("main", { class: "view", id: "view", tabIndex: -1 });
  #links = new Map();
  #steps = null;
  #afterG = 0;
  #help = null;
  #ended = null;

  /** @param {import("../app.js").App} app */
  set app(app) {
    this.#app = app;
  }

  connectedCallback() {
    this.#ended = new AbortController();
    addEventListener("hashchange", ({ oldURL }) => this.#left(new URL(oldURL).hash), { signal: this.#ended.signal });
    this.#steps = firstSteps(this.#app);
    const { session } = this.#app;
    if (!session.must_enrol) watchFirstSample(this.#app, this.#main, this.#ended.signal);
    this.classList.add("shell");
    const nav = el(
      "nav",
      { class: "nav", "aria-label": "Main" },
      PLACES.map(([name, label, key]) => {
        const link = el(
          "a",
          { href: `#/${name}`, class: "nav-link", title: `${label} (g ${key})` },
          icon(name),
          el("span", {}, label),
        );
        this.#links.set(name, link);
        return link;
      }),
    );
    const account = el(
      "button",
      { class: "account", title: session.user.email },
      el("span", { class: "avatar", "aria-hidden": "true" }, session.organisation.name.slice(0, 1).toUpperCase()),
      el(
        "span",
        { class: "account-text" },
        el("strong", {}, session.organisation.name),
        el("span", {}, session.user.email),
      ),
    );
    this.replaceChildren(
      el(
        "a",
        {
          class: "skip",
          href: "#view",
          on: {
            click: (event) => {
              event.preventDefault();
              this.#main.focus();
            },
          },
        },
        "Skip to the content",
      ),
      el(
        "header",
        { class: "rail" },
        el(
          "a",
          { class: "brand", href: "#/overview", "aria-label": "CloudOpsHub, overview" },
          logo(),
          el("span", {}, "CloudOpsHub"),
        ),
        nav,
        el(
          "div",
          { class: "rail-foot" },
          el(
            "button",
            { class: "nav-link keys", "aria-label": "Keyboard", on: { click: () => this.#showHelp() } },
            icon("keyboard"),
            el("span", {}, "Keyboard"),
            el("kbd", {}, "?"),
          ),
          popover(account, (close) => this.#menu(close), { align: "up", label: "Account" }),
        ),
      ),
      this.#main,
    );
  }

  disconnectedCallback() {
    this.#ended?.abort();
  }

  /** A place that was left keeps its query and range in its link. */
  #left(hash) {
    const [name] = parseHash(hash).path;
    if (name !== this.#app.route.path[0]) this.#links.get(name)?.setAttribute("href", hash);
  }

  /** The view named `name` is the one shown; its link now leads to it afresh, that of any other to where one was. */
  show(view, name) {
    for (const [place, link] of this.#links) {
      if (place === name) {
        link.setAttribute("aria-current", "page");
        link.setAttribute("href", `#/${name}`);
      } else link.removeAttribute("aria-current");
    }
    this.#main.replaceChildren(view, this.#steps);
    scrollTo(0, 0);
  }

  /** @returns {boolean} whether the key meant something here */
  key(event) {
    if (event.key === "?") {
      this.#showHelp();
      return true;
    }
    if (event.key === "/") {
      const seen = (kind) =>
        [...this.#main.querySelectorAll(`[data-search=${kind}]`)].find((node) => node.offsetParent !== null);
      const field = seen("primary") ?? seen("secondary");
      if (!field) return false;
      field.focus();
      field.select?.();
      return true;
    }
    if (event.key === "g") {
      this.#afterG = event.timeStamp;
      return true;
    }
    if (this.#afterG && event.timeStamp - this.#afterG < 1500) {
      this.#afterG = 0;
      const place = PLACES.find(([, , key]) => key === event.key);
      if (place) {
        this.#app.go(this.#links.get(place[0]).getAttribute("href"));
        return true;
      }
    }
    return false;
  }

  #menu(close) {
    const { session } = this.#app;
    const theme = el(
      "div",
      { class: "segmented", role: "group", "aria-label": "Theme" },
      [
        ["light", "sun", "Light"],
        ["dark", "moon", "Dark"],
        ["system", "system", "System"],
      ].map(([name, drawing, label]) =>
        el(
          "button",
          {
            title: label,
            "aria-label": label,
            "aria-pressed": String(themeChoice() === name),
            on: {
              click: (event) => {
                chooseTheme(name);
                for (const button of event.currentTarget.parentNode.children)
                  button.setAttribute("aria-pressed", String(button === event.currentTarget));
              },
            },
          },
          icon(drawing),
        ),
      ),
    );
    const others = session.organisations.filter(({ id }) => id !== session.organisation.id);
    return el(
      "div",
      { class: "stack menu" },
      el(
        "div",
        { class: "menu-who" },
        el("strong", {}, session.organisation.name),
        el("span", {}, `${session.user.email} · ${session.role}`),
      ),
      el("p", { class: "eyebrow" }, "Theme"),
      theme,
      others.length > 0 && el("p", { class: "eyebrow" }, "Switch organisation"),
      others.map(({ id, name }) =>
        el(
          "button",
          {
            class: "menu-item",
            on: {
              click: () => {
                close();
                this.#switch(id);
              },
            },
          },
          name,
        ),
      ),
      el(
        "button",
        {
          class: "menu-item",
          on: {
            click: () => {
              close();
              this.#leave();
            },
          },
        },
        icon("out"),
        "Sign out",
      ),
    );
  }

  async #switch(id) {
    try {
      const answer = await this.#app.client.ubs("POST", "/api/v1/session/organisation", { organisation_id: id });
      this.#app.signedIn(answer);
    } catch (error) {
      this.#app.toast(error.message, { bad: true });
    }
  }

  async #leave() {
    try {
      await this.#app.client.ubs("POST", "/api/v1/logout");
    } catch (error) {
      if (error.status !== 401) {
        this.#app.toast(error.message, { bad: true });
        return;
      }
    }
    this.#app.signedOut();
  }

  #showHelp() {
    if (!this.#help?.open) this.#help = keysDialog();
  }
}

/** The mark, drawn in the theme's own colours. */
export function logo() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 32 32", class: "logo", "aria-hidden": "true" }))
    svg.setAttribute(key, value);
  for (const [name, attributes] of [
    ["rect", { width: 32, height: 32, rx: 8, class: "logo-tile" }],
    ["path", { d: "M9.6 22.5a5.1 5.1 0 0 1-.5-10.2 7.2 7.2 0 0 1 13.7 1.5 4.4 4.4 0 0 1-.4 8.7", class: "logo-cloud" }],
    ["path", { d: "M8.5 19h4l2.2-5 3 8.5 2.2-5.6.9 2.1h2.9", class: "logo-pulse" }],
  ]) {
    const part = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, String(value));
    svg.append(part);
  }
  return svg;
}

/** The head of a view: its name, what it is about, its controls. */
export function viewHead(title, text, ...controls) {
  return fill(
    el("div", { class: "view-head" }),
    el("div", { class: "view-title" }, el("h1", {}, title), text && el("p", {}, text)),
    el("div", { class: "view-controls" }, controls),
  );
}

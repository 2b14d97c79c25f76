/**
 * What every view is given: who is signed in, the services, the route, and words to the person.
 *
 * @typedef {object} Session
 * @property {{id: string, email: string}} user
 * @property {{id: string, name: string, slug: string}} organisation
 * @property {{id: string, name: string}[]} organisations
 * @property {string} role
 * @property {string[]} scopes
 * @property {boolean} must_enrol a second factor is to be added first
 */

import { Client } from "./api/client.js";
import { Prometheus } from "./api/prometheus.js";
import { seriesStyles } from "./charts/theme.js";
import { askBeforeLeaving, el } from "./dom.js";
import { duration } from "./format/units.js";
import { hubClock } from "./state/clock.js";
import { PageRange } from "./state/page_range.js";
import { formatHash, parseHash } from "./state/url.js";

export class App extends EventTarget {
  /** @type {Session|null} */
  session = null;
  #agentKeys = new Map(); // organisation → {id, key, letGo}
  #toasts = el("div", { class: "toasts", role: "status", "aria-live": "polite" });

  #clockNote = el("div", { class: "clock-note", role: "status", hidden: true });

  #tabs = new BroadcastChannel("coh-session"); // the browser's tabs share one session

  constructor() {
    super();
    document.body.prepend(this.#clockNote);
    this.client = new Client({ onSignedOut: () => this.signedOut(), clock: hubClock });
    this.prometheus = new Prometheus(this.client);
    document.body.append(this.#toasts);
    this.#tabs.addEventListener("message", () => this.dispatchEvent(new Event("elsewhere")));
    hubClock.addEventListener("change", () => this.#tellClock());
  }

  get route() {
    return parseHash(location.hash);
  }

  /** Whether the signed-in person's role carries this scope. */
  can(scope) {
    return this.session?.scopes.includes(scope) ?? false;
  }

  /** The key made in Add data for this organisation, {id, key}; kept until its maker signs out. */
  get agentKey() {
    return this.#agentKeys.get(this.session.organisation.id) ?? null;
  }

  /** Leaving the page asks first, until the key is copied. */
  set agentKey(made) {
    this.#agentKeys.set(this.session.organisation.id, { ...made, letGo: askBeforeLeaving() });
  }

  agentKeyCopied() {
    this.agentKey?.letGo();
  }

  /** The session answer is the one in force; the page is drawn for it, at `hash` where one is given. */
  signedIn(session, hash = "") {
    if (hash) history.replaceState(null, "", hash);
    this.#become(session);
    this.#tellTabs();
  }

  signedOut() {
    if (this.session === null) return;
    this.#become(null);
    this.#tellTabs();
  }

  /** What another tab or an answer did to the session holds here too: signed out, another organisation or role. */
  async followSession() {
    const fact = (session) =>
      JSON.stringify([session?.user.id, session?.organisation.id, session?.role, session?.must_enrol]);
    try {
      const session = await this.client.ubs("GET", "/api/v1/session", undefined, { quiet: true });
      if (fact(session) === fact(this.session)) this.session = this.client.adopt(session);
      else this.#become(session);
    } catch (error) {
      if (error.status === 401 && this.session !== null) this.#become(null);
    }
  }

  /** The page is this session's, or nobody's; what was learnt of another's organisation is forgotten. */
  #become(session) {
    if (session?.user.id !== this.session?.user.id) {
      for (const { letGo } of this.#agentKeys.values()) letGo();
      this.#agentKeys.clear();
    }
    this.session = this.client.adopt(session);
    seriesStyles.forget();
    this.prometheus.forget();
    this.dispatchEvent(new Event("session"));
  }

  #tellTabs() {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel is of one origin, and takes none
    this.#tabs.postMessage("changed");
  }

  /** Goes to `hash`, as a click on a link would. */
  go(hash, { replace = false } = {}) {
    if (replace) {
      history.replaceState(null, "", hash);
      this.dispatchEvent(new Event("route"));
    } else {
      location.hash = hash;
    }
  }

  /**
   * Writes parameters of the present view into the URL without drawing it anew; `push` makes Back return to what
   * was.
   */
  setParams(changes, { push = false } = {}) {
    const { path, params } = this.route;
    const hash = formatHash({ path, params: { ...params, ...changes } });
    if (hash === location.hash) return;
    history[push ? "pushState" : "replaceState"](null, "", hash);
  }

  /** A browser's clock that is wrong is told as long as it is. */
  #tellClock() {
    this.#clockNote.hidden = !hubClock.isOff;
    const { offsetMs } = hubClock;
    this.#clockNote.textContent =
      `This browser's clock is ${duration(Math.round(Math.abs(offsetMs) / 1000))} ` +
      `${offsetMs > 0 ? "behind" : "ahead of"} the hub's. Times here are the hub's.`;
  }

  /** A short word at the edge of the page; failures stay longer. */
  toast(text, { bad = false } = {}) {
    const note = el("div", { class: bad ? "toast bad" : "toast" }, text);
    this.#toasts.append(note);
    setTimeout(() => note.remove(), bad ? 8000 : 3500);
  }

  /**
   * The page's range, bound to the URL's from, to, refresh and tz until `signal` ends.
   * @returns {{pageRange: PageRange, adopt: () => void}} `adopt` takes over what the URL says now
   */
  bindRange(defaults, signal) {
    const fromUrl = () => {
      const {
        from = defaults.from,
        to = defaults.to,
        refresh = String(defaults.refreshS),
        tz = zoneChoice(),
      } = this.route.params;
      return { range: { from, to }, refreshS: Number(refresh) || 0, zone: tz === "utc" ? "utc" : "local" };
    };
    const pageRange = new PageRange(fromUrl());
    const toUrl = (push) => {
      const { range, refreshS, zone } = pageRange;
      this.setParams(
        {
          from: range.from === defaults.from && range.to === defaults.to ? "" : range.from,
          to: range.from === defaults.from && range.to === defaults.to ? "" : range.to,
          refresh: refreshS === defaults.refreshS ? "" : refreshS,
          tz: zone === zoneChoice() ? "" : zone,
        },
        { push },
      );
    };
    pageRange.addEventListener(
      "range",
      () => {
        keepZone(pageRange.zone);
        toUrl(true);
      },
      { signal },
    );
    pageRange.addEventListener("paint", () => toUrl(false), { signal });
    pageRange.start(signal);
    return { pageRange, adopt: () => pageRange.adopt(fromUrl()) };
  }
}

function zoneChoice() {
  try {
    return localStorage.getItem("coh-zone") ?? "local";
  } catch {
    return "local";
  }
}

function keepZone(zone) {
  try {
    localStorage.setItem("coh-zone", zone);
  } catch {
    // kept in the URL only
  }
}

/** The page reacts to charts inside of `root`: a drag zooms, a double click goes back. */
export function listenToCharts(root, pageRange, signal) {
  root.addEventListener("coh-range", (event) => pageRange.setSpan(event.detail), { signal });
  root.addEventListener("coh-zoom-back", () => pageRange.back(), { signal });
}

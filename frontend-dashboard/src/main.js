/** The page starts here: elements are registered, the session is asked for, and the URL chooses the view. */

import { App } from "./app.js";
import { isAbort } from "./api/client.js";
import { el, rescueFocus } from "./dom.js";
import { Chart } from "./elements/chart.js";
import { Legend } from "./elements/legend.js";
import { Panel } from "./elements/panel.js";
import { RangeBar } from "./elements/range_bar.js";
import { Shell } from "./elements/shell.js";
import { Snippet } from "./elements/snippet.js";
import { failedState } from "./elements/states.js";
import { HealthStrip } from "./elements/health_strip.js";
import { StatTile } from "./elements/stat_tile.js";
import { lettersAct } from "./state/shortcuts.js";
import { afterLogin, formatHash } from "./state/url.js";
import { AddDataView } from "./views/add_data.js";
import { AnalysisView } from "./views/analysis.js";
import { EventsView } from "./views/events.js";
import { ExploreView } from "./views/explore.js";
import { InvitationView, LoginView, SetupView } from "./views/doors.js";
import { AddressView, ForgottenView, ResetView, VerifyView } from "./views/letter_doors.js";
import { OverviewView } from "./views/overview.js";
import { SettingsView } from "./views/settings.js";
import { UsageView } from "./views/usage.js";

const ELEMENTS = {
  "coh-chart": Chart,
  "coh-legend": Legend,
  "coh-panel": Panel,
  "coh-range-bar": RangeBar,
  "coh-shell": Shell,
  "coh-snippet": Snippet,
  "coh-health-strip": HealthStrip,
  "coh-stat-tile": StatTile,
  "coh-view-overview": OverviewView,
  "coh-view-explore": ExploreView,
  "coh-view-analysis": AnalysisView,
  "coh-view-events": EventsView,
  "coh-view-add": AddDataView,
  "coh-view-usage": UsageView,
  "coh-view-settings": SettingsView,
  "coh-view-login": LoginView,
  "coh-view-setup": SetupView,
  "coh-view-invitation": InvitationView,
  "coh-view-forgotten": ForgottenView,
  "coh-view-reset": ResetView,
  "coh-view-verify": VerifyView,
  "coh-view-address": AddressView,
};
for (const [name, element] of Object.entries(ELEMENTS)) customElements.define(name, element);

const VIEWS = {
  overview: OverviewView,
  explore: ExploreView,
  analysis: AnalysisView,
  events: EventsView,
  add: AddDataView,
  usage: UsageView,
  settings: SettingsView,
};
const DOORS = {
  login: LoginView,
  setup: SetupView,
  invitation: InvitationView,
  forgotten: ForgottenView,
  reset: ResetView,
  verify: VerifyView,
  address: AddressView,
};
const TITLES = {
  overview: "Overview",
  explore: "Explore",
  analysis: "Analysis",
  events: "Events",
  add: "Add data",
  usage: "Usage",
  settings: "Settings",
  login: "Sign in",
  setup: "Set up",
  invitation: "Invitation",
  forgotten: "Forgotten password",
  reset: "New password",
  verify: "Confirm your address",
  address: "Confirm your address",
};
const ENROL = "#/settings/signin"; // all that is open to a session which lacks the second factor

const app = new App();
const root = document.getElementById("app");
let shell = null;
let shown = null;
let isStarted = false;

/** Draws what the URL asks for, for whoever is signed in. */
function route() {
  const { path } = app.route;
  const name = path[0] ?? "";
  if (name in DOORS && !(name === "login" && app.session)) {
    showDoor(name);
  } else if (!app.session) {
    const asked = location.hash;
    app.go(formatHash({ path: ["login"], params: { next: asked.length > 2 ? asked : "" } }), { replace: true });
  } else if (app.session.must_enrol && !location.hash.startsWith(ENROL)) {
    app.go(ENROL, { replace: true });
  } else if (name in VIEWS) {
    showView(name);
  } else {
    app.go(name === "login" ? afterLogin(app.route.params.next) : "#/overview", { replace: true });
  }
  if (isStarted) rescueFocus(); // at the start the first Tab is for "Skip to the content"
}

function showDoor(name) {
  shell = null;
  const door = new DOORS[name]();
  door.app = app;
  shown = door;
  document.title = `${TITLES[name]} · CloudOpsHub`;
  root.replaceChildren(door);
}

function showView(name) {
  document.title = `${TITLES[name]} · ${app.session.organisation.name} · CloudOpsHub`;
  if (!shell) {
    shell = new Shell();
    shell.app = app;
    shown = null;
    root.replaceChildren(shell);
  }
  if (shown instanceof VIEWS[name]) {
    shown.routeChanged?.();
  } else {
    const view = new VIEWS[name]();
    view.app = app;
    shown = view;
    shell.show(view, name);
  }
}

addEventListener("hashchange", route);
app.addEventListener("route", route);
app.addEventListener("elsewhere", () => app.followSession());
app.addEventListener("session", () => {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close(); // of whoever was here before
  shell = null;
  shown = null;
  route();
});
addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (event.key.length === 1 && !lettersAct()) return;
  if (shell?.key(event) || shown?.key?.(event)) event.preventDefault();
});

function isTyping(target) {
  return (
    target instanceof HTMLElement && (target.isContentEditable || /^(?:INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

async function start() {
  try {
    app.session = app.client.adopt(await app.client.ubs("GET", "/api/v1/session", undefined, { quiet: true }));
  } catch (error) {
    if (isAbort(error)) return;
    if (error.status !== 401 && error.status !== 403) {
      root.replaceChildren(
        el("main", { class: "door" }, el("div", { class: "door-card" }, failedState(error, { retry: start }))),
      );
      started();
      return;
    }
  }
  route();
  started();
}

/** Tells start_watch.js that the page speaks for itself from here on. */
function started() {
  isStarted = true;
  document.dispatchEvent(new Event("coh-started"));
}

start();

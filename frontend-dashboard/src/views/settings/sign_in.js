/** How one signs in: the second factor, the password, and where one is signed in. */

import { el, fill } from "../../dom.js";
import { row, table } from "../../elements/data_table.js";
import { confirmed, shownOnce } from "../../elements/dialog.js";
import { qr } from "../../elements/qr.js";
import { snippet } from "../../elements/snippet.js";
import { fullTime, relativeTime } from "../../format/time.js";
import { PASSWORD_MIN, passwordTrouble } from "../../state/password.js";
import { card, choice, dangerButton, field, form, section, textInput } from "./section.js";

const CHANGES = [
  ["recovery-codes", "make new recovery codes"],
  ["disable", "turn it off"],
];

export function signInSections(app, signal) {
  const mustEnrol = app.session.must_enrol;
  return [
    mustEnrol &&
      el(
        "p",
        { class: "form-trouble", role: "status" },
        `${app.session.organisation.name} requires a second factor. The rest opens once you have one.`,
      ),
    factorSection(app, signal),
    !mustEnrol && passwordCard(app),
    sessionSection(app, signal),
  ];
}

function codeField() {
  return field("Code", textInput({ name: "code", autocomplete: "one-time-code", spellcheck: false }));
}

/** Only a fresh session changes a second factor; the password makes it one. */
function proofField() {
  const properties = { name: "password", type: "password", autocomplete: "current-password", required: false };
  return field("Password, if you signed in over an hour ago", textInput(properties), { grow: true });
}

/** POST below second-factor, as the person whose password is given with it. */
async function change(app, path, values) {
  const [password, code] = [values.get("password"), values.get("code")];
  if (password) await app.client.ubs("POST", "/api/v1/session/fresh", { password });
  return app.client.ubs("POST", `/api/v1/second-factor${path}`, code === null ? undefined : { code });
}

function factorSection(app, signal) {
  return section(app, "Second factor", signal, async (part, ended) => {
    const factor = await app.client.ubs("GET", "/api/v1/second-factor", undefined, { signal: ended });
    return factor.confirmed_at ? changeFactor(app, part, factor) : addFactor(app, part);
  }).card;
}

function addFactor(app, part) {
  const place = el("div", { class: "stack" });
  const begin = async (values) => {
    const begun = await change(app, "", values);
    fill(place, confirmFactor(app, part, begun));
    place.querySelector("input").focus();
  };
  return fill(
    place,
    el("p", { class: "quiet" }, "With an authenticator app, signing in takes your password and a code of the app."),
    form(begin, [proofField(), el("button", { type: "submit", class: "button primary" }, "Add a second factor")]),
  );
}

function confirmFactor(app, part, { secret, otpauth, qr_svg: drawing }) {
  const confirm = async (values) => showCodes(app, part, await change(app, "/confirm", values));
  return [
    el("p", {}, "Scan this with the authenticator app, or type the secret into it. Then give a code of it."),
    qr(drawing, "QR code of the secret below"),
    snippet(secret, "Secret"),
    el("a", { class: "link", href: otpauth }, "Open it in an app on this device"),
    form(confirm, [codeField(), el("button", { type: "submit", class: "button primary" }, "Confirm")]),
  ];
}

function changeFactor(app, part, { confirmed_at: since, recovery_codes_left: left }) {
  const send = async (values) => {
    const path = `/${values.get("change")}`;
    const answer = await change(app, path, values);
    if (answer) return showCodes(app, part, answer);
    app.toast("The second factor is off");
    await app.followSession(); // where one is required the session is over
    return part.reload();
  };
  return [
    el("p", {}, `On since ${fullTime(Date.parse(since))}; ${left} recovery codes left.`),
    form(send, [
      field("To do", choice({ name: "change" }, CHANGES)),
      codeField(),
      proofField(),
      el("button", { type: "submit", class: "button" }, "Do it"),
    ]),
  ];
}

function showCodes(app, part, { recovery_codes: codes }) {
  shownOnce({
    title: "Your recovery codes",
    text: "Each signs you in once when the authenticator is lost. They are shown this once: keep them apart from it.",
    secret: codes.join("\n"),
    label: "Recovery codes",
    closed: async () => {
      await part.reload();
      await app.followSession(); // nothing is closed to it any more
    },
  });
}

function passwordCard(app) {
  const { user, organisation } = app.session;
  const password = (name, autocomplete) => textInput({ name, type: "password", autocomplete });
  const next = password("new", "new-password");
  next.addEventListener("input", () =>
    next.setCustomValidity(passwordTrouble(next.value, [user.email, organisation.name])),
  );
  const send = async (values) => {
    app.signedIn(await app.client.ubs("POST", "/api/v1/me/password", Object.fromEntries(values)));
    app.toast("Your password is new; your other sessions have ended");
  };
  return card(
    el("h2", { class: "section-title" }, "Password"),
    form(send, [
      field("Old password", password("old", "current-password"), { grow: true }),
      field(`New password, at least ${PASSWORD_MIN} characters`, next, { grow: true }),
      el("button", { type: "submit", class: "button" }, "Change it"),
    ]),
  );
}

function sessionSection(app, signal) {
  return section(app, "Where you are signed in", signal, async (part, ended) => {
    const { sessions } = await app.client.ubs("GET", "/api/v1/sessions", undefined, { signal: ended });
    const end = (words, method, path) =>
      part.change(() => app.client.ubs(method, `/api/v1/sessions/${path}`), `${words} ended`);
    const endOthers = () =>
      confirmed("End your other sessions?", "Whoever uses them signs in anew.", "End them", () =>
        end("Your other sessions have", "POST", "end-others"),
      );
    return [
      table(
        ["Browser", "Network", "Last seen", "Signed in", ""],
        sessions.map((session) => sessionRow(session, () => end("The session has", "DELETE", session.id))),
      ),
      sessions.length > 1 && dangerButton("End all others", endOthers),
    ];
  }).card;
}

function sessionRow({ browser, network, last_seen_at: seen, created_at: since, current }, end) {
  const at = (time) => ["quiet", relativeTime(Date.parse(time)), fullTime(Date.parse(time))];
  return row(
    el("div", {}, browser || "unknown", current && el("span", { class: "tag" }, "this one")),
    network ?? "",
    at(seen),
    at(since),
    ["end", !current && dangerButton("End", end)],
  );
}

/** API keys: made, shown once, revoked. */

import { el } from "../../dom.js";
import { confirmed, shownOnce } from "../../elements/dialog.js";
import { row, table } from "../../elements/data_table.js";
import { fullTime, relativeTime } from "../../format/time.js";
import { card, choice, dangerButton, field, form, notForRole, section, textInput } from "./section.js";

const SCOPES = [
  ["metrics:write", "send metrics"],
  ["metrics:read", "read metrics"],
  ["analysis:run", "run analyses"],
  ["billing:read", "read usage and invoices"],
  ["admin", "administer members and keys"],
];
const EXPIRIES = [
  ["", "never"],
  ["30", "in 30 days"],
  ["90", "in 90 days"],
  ["365", "in a year"],
];
const HEADS = ["Key", "May", "Made", "Last used", "Expires", ""];

export function keySections(app, signal) {
  if (!app.can("admin"))
    return notForRole(app, "API keys are for owners and admins", "Ask one of them for a key to send samples with.");
  const list = section(app, "Keys", signal, async (part, ended) => {
    const { keys } = await app.client.ubs("GET", "/api/v1/keys", undefined, { signal: ended });
    const rows = (revoked) =>
      keys.filter((key) => Boolean(key.revoked_at) === revoked).map((key) => keyRow(app, part, key));
    const gone = rows(true);
    return [
      gone.length === keys.length
        ? el("p", { class: "quiet" }, "No key yet. Agents need one to send samples.")
        : table(HEADS, rows(false)),
      gone.length > 0 && el("details", {}, el("summary", {}, `${gone.length} revoked`), table(HEADS, gone)),
    ];
  });
  return [card(el("h2", { class: "section-title" }, "New key"), keyForm(app, list)), list.card];
}

function keyForm(app, list) {
  const make = async (values, sent) => {
    const scopes = values.getAll("scopes");
    if (scopes.length === 0) throw new Error("Choose at least one thing the key may do.");
    const days = values.get("expires");
    const made = await app.client.ubs("POST", "/api/v1/keys", {
      name: values.get("name"),
      scopes,
      expires_in_days: days ? Number(days) : null,
    });
    shownOnce({
      title: `“${made.name}” is made`,
      text: "Copy it now: it is shown this once and kept only as a hash.",
      secret: made.key,
      label: "API key",
    });
    sent.reset();
    list.reload();
  };
  return form(
    make,
    [
      el(
        "div",
        { class: "row-form" },
        field("Name", textInput({ name: "name", maxLength: 100, placeholder: "what will use it" }), { grow: true }),
        field("Expires", choice({ name: "expires" }, EXPIRIES)),
        el("button", { type: "submit", class: "button primary" }, "Make the key"),
      ),
      el(
        "fieldset",
        { class: "checks" },
        el("legend", {}, "It may"),
        SCOPES.map(([scope, words]) =>
          el(
            "label",
            { class: "check", title: scope },
            el("input", {
              type: "checkbox",
              name: "scopes",
              value: scope,
              defaultChecked: scope.startsWith("metrics:"),
            }),
            words,
          ),
        ),
      ),
    ],
    { stack: true },
  );
}

function keyRow(app, part, key) {
  const at = (time, what = "") =>
    time ? ["quiet", `${what}${relativeTime(Date.parse(time))}`, fullTime(Date.parse(time))] : ["quiet", "never"];
  const revoke = () =>
    confirmed(
      `Revoke “${key.name}”?`,
      "Agents that use it are refused within 5 seconds. This cannot be undone.",
      "Revoke",
      () => part.change(() => app.client.ubs("DELETE", `/api/v1/keys/${key.id}`), "Revoked"),
    );
  const made = row(
    el("div", {}, key.name, el("code", { class: "quiet under" }, `${key.start}…`)),
    el(
      "div",
      { class: "tags" },
      key.scopes.map((scope) => el("span", { class: "tag" }, scope)),
    ),
    at(key.created_at),
    at(key.last_used_at),
    at(key.revoked_at ?? key.expires_at, key.revoked_at ? "revoked " : ""),
    ["end", !key.revoked_at && dangerButton("Revoke", revoke)],
  );
  made.classList.toggle("off", Boolean(key.revoked_at));
  return made;
}

/** This organisation, and a way to another. */

import { el } from "../../dom.js";
import { card, field, form, textInput } from "./section.js";

export function organisationSections(app) {
  const { organisation, organisations, role, user } = app.session;
  const others = organisations.filter(({ id }) => id !== organisation.id).map(({ name }) => name);
  const create = async (values) => {
    const made = await app.client.ubs("POST", "/api/v1/organisations", { name: values.get("name") });
    app.signedIn(
      await app.client.ubs("POST", "/api/v1/session/organisation", { organisation_id: made.id }),
      "#/overview",
    );
    app.toast(`You are in ${made.name} now`);
  };
  return [
    card(
      el("h2", { class: "section-title" }, "This organisation"),
      el(
        "dl",
        { class: "facts-list" },
        pair("Name", organisation.name),
        pair("Short name", organisation.slug),
        pair("Identifier", el("code", {}, organisation.id)),
        pair("You", `${user.email}, ${role}`),
        pair("Also a member of", others.join(", ") || "no other"),
      ),
    ),
    card(
      el("h2", { class: "section-title" }, "Another organisation"),
      el("p", { class: "quiet" }, "Its members, keys and metrics are apart from this one. You own it."),
      form(create, [
        field("Name", textInput({ name: "name", maxLength: 100 }), { grow: true }),
        el("button", { type: "submit", class: "button" }, "Create"),
      ]),
    ),
  ];
}

function pair(name, value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}

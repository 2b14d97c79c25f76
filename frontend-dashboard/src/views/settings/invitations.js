/** Invitations: a link that makes a member, shown once. */

import { el } from "../../dom.js";
import { shownOnce } from "../../elements/shown_once.js";
import { row, table } from "../../elements/table.js";
import { fullTime, relativeTime } from "../../format/time.js";
import { choice, dangerButton, field, form, section, textInput } from "./section.js";

/** @param {[string, string][]} roles those that may be given */
export function invitations(app, signal, roles) {
  const list = section(app, "Invitations", signal, async (part, ended) => {
    const answer = await app.client.ubs("GET", "/api/v1/invitations", undefined, { signal: ended });
    return (
      answer.invitations.length > 0 &&
      table(
        ["Email", "Role", "Expires", ""],
        answer.invitations.map((invitation) => invitationRow(app, part, invitation)),
      )
    );
  });
  list.card.append(
    form(
      async (values, sent) => {
        const made = await app.client.ubs("POST", "/api/v1/invitations", Object.fromEntries(values));
        shownOnce({
          title: `The invitation of ${made.email}`,
          text: `Send them this link. It is shown this once, and works until ${fullTime(Date.parse(made.expires_at))}.`,
          secret: new URL(made.link, location.origin).href,
          label: "Invitation link",
        });
        sent.reset();
        list.reload();
      },
      [
        field("Email", textInput({ type: "email", name: "email" }), { grow: true }),
        field("Role", choice({ name: "role" }, roles)),
        el("button", { type: "submit", class: "button primary" }, "Invite"),
      ],
    ),
  );
  return list.card;
}

function invitationRow(app, part, { id, email, role, expires_at: expires }) {
  const withdraw = () =>
    part.change(() => app.client.ubs("DELETE", `/api/v1/invitations/${id}`), "Invitation withdrawn");
  return row(
    email,
    el("span", { class: "tag" }, role),
    ["quiet", relativeTime(Date.parse(expires)), fullTime(Date.parse(expires))],
    ["end", dangerButton("Withdraw", withdraw)],
  );
}

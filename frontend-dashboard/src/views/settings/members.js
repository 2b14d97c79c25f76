/** Members of the organisation, what each may do, and invitations: links that make one. */

import { el } from "../../dom.js";
import { confirmed, shownOnce } from "../../elements/dialog.js";
import { row, table } from "../../elements/data_table.js";
import { fullTime, relativeTime } from "../../format/time.js";
import { choice, dangerButton, field, form, notForRole, section, textInput } from "./section.js";

const ROLES = ["viewer", "admin", "owner"];

export function memberSections(app, signal) {
  if (!app.can("admin"))
    return notForRole(app, "Members are for owners and admins", "They invite people, and change what each may do.");
  const list = section(app, "Members", signal, async (part, ended) => {
    const { members } = await app.client.ubs("GET", "/api/v1/members", undefined, { signal: ended });
    return table(
      ["Email", "Role", "Joined", ""],
      members.map((member) => memberRow(app, part, member)),
    );
  });
  return [list.card, invitations(app, signal, roleOptions(app))];
}

/** The roles that the signed-in person may give. */
function roleOptions(app) {
  return ROLES.filter((name) => app.session.role === "owner" || name !== "owner").map((name) => [name, name]);
}

function memberRow(app, part, member) {
  const isMe = member.user_id === app.session.user.id;
  const fixed = member.role === "owner" && app.session.role !== "owner";
  const path = `/api/v1/members/${member.user_id}`;
  const joinedMs = Date.parse(member.joined_at);
  const setRole = ({ target: { value } }) =>
    part.change(async () => {
      await app.client.ubs("PATCH", path, { role: value });
      if (isMe) await app.followSession(); // a new session came with the answer
    }, `${member.email} is ${value} now`);
  const remove = () =>
    confirmed(
      isMe ? "Leave the organisation?" : `Remove ${member.email}?`,
      "Access ends within 5 seconds.",
      isMe ? "Leave" : "Remove",
      () => part.change(() => app.client.ubs("DELETE", path), isMe ? "You left" : "Removed"),
    );
  return row(
    el("div", {}, member.email, isMe && el("span", { class: "tag" }, "you")),
    fixed
      ? el("span", { class: "tag" }, member.role)
      : choice({ "aria-label": `Role of ${member.email}`, on: { change: setRole } }, roleOptions(app), member.role),
    ["quiet", relativeTime(joinedMs), fullTime(joinedMs)],
    ["end", !fixed && dangerButton(isMe ? "Leave" : "Remove", remove)],
  );
}

/** @param {[string, string][]} roles those that may be given */
function invitations(app, signal, roles) {
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

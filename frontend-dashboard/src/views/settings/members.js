/** Members of the organisation: who they are, and what they may do. */

import { el } from "../../dom.js";
import { confirmed } from "../../elements/dialog.js";
import { row, table } from "../../elements/table.js";
import { fullTime, relativeTime } from "../../format/time.js";
import { invitations } from "./invitations.js";
import { choice, dangerButton, notForRole, section } from "./section.js";

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
    ["", [member.email, isMe && el("span", { class: "tag" }, "you")]],
    fixed
      ? el("span", { class: "tag" }, member.role)
      : choice({ "aria-label": `Role of ${member.email}`, on: { change: setRole } }, roleOptions(app), member.role),
    ["quiet", relativeTime(joinedMs), fullTime(joinedMs)],
    ["end", !fixed && dangerButton(isMe ? "Leave" : "Remove", remove)],
  );
}

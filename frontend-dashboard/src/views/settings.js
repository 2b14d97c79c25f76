/** Settings: who belongs to the organisation, which keys there are, and what was changed by whom. */

import { isAbort } from "../api/client.js";
import { el, fill, icon } from "../dom.js";
import { viewHead } from "../elements/shell.js";
import { snippet } from "../elements/snippet.js";
import { emptyState, failedState, loadingState } from "../elements/states.js";
import { fullTime, relativeTime } from "../format/time.js";

const TABS = [
  ["members", "Members"],
  ["keys", "API keys"],
  ["audit", "Audit log"],
  ["organisation", "Organisation"],
];
const ROLES = ["viewer", "admin", "owner"];
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
const AUDIT_PAGE = 50;

export class SettingsView extends HTMLElement {
  /** @type {import("../app.js").App} */
  app;
  #ended = null;
  #loading = null;
  #tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "Settings" });
  #body = el("div", { class: "settings-body" });

  connectedCallback() {
    this.#ended = new AbortController();
    this.replaceChildren(viewHead("Settings", ""), this.#tabs, this.#body);
    this.routeChanged();
  }

  disconnectedCallback() {
    this.#ended?.abort();
    this.#loading?.abort();
  }

  routeChanged() {
    const tab = TABS.find(([name]) => name === this.app.route.path[1])?.[0] ?? "members";
    fill(
      this.#tabs,
      TABS.map(([name, words]) =>
        el(
          "a",
          { class: "tab", role: "tab", href: `#/settings/${name}`, "aria-selected": String(name === tab) },
          words,
        ),
      ),
    );
    this.#load({ members: this.#members, keys: this.#keys, audit: this.#audit, organisation: this.#organisation }[tab]);
  }

  /** Runs one tab's loader; an older one that answers late is dropped. */
  async #load(loader) {
    this.#loading?.abort();
    const loading = new AbortController();
    this.#loading = loading;
    fill(this.#body, el("section", { class: "card" }, loadingState()));
    try {
      const content = await loader.call(this, loading.signal);
      if (!loading.signal.aborted) fill(this.#body, content);
    } catch (error) {
      if (isAbort(error) || loading.signal.aborted) return;
      fill(this.#body, el("section", { class: "card" }, failedState(error, { retry: () => this.#load(loader) })));
    }
  }

  /** Does it, says what failed, and shows the tab anew. */
  async #act(action, loader, done = "") {
    try {
      await action();
      if (done) this.app.toast(done);
      this.#load(loader);
    } catch (error) {
      this.app.toast(error.message, { bad: true });
    }
  }

  #ubs(method, path, body, signal) {
    return this.app.client.ubs(method, path, body, { signal });
  }

  async #members(signal) {
    const mayChange = this.app.can("admin");
    const [{ members }, invitations] = await Promise.all([
      this.#ubs("GET", "/api/v1/members", undefined, signal),
      mayChange ? this.#ubs("GET", "/api/v1/invitations", undefined, signal) : { invitations: [] },
    ]);
    const open = invitations.invitations ?? [];
    const mine = this.app.session.user.id;
    const isOwner = this.app.session.role === "owner";
    const rows = members.map((member) => {
      const fixed = !mayChange || (member.role === "owner" && !isOwner);
      const role = fixed
        ? el("span", { class: "tag" }, member.role)
        : el(
            "select",
            {
              class: "select",
              "aria-label": `Role of ${member.email}`,
              on: {
                change: (event) =>
                  this.#act(
                    () => this.#ubs("PATCH", `/api/v1/members/${member.user_id}`, { role: event.target.value }),
                    this.#members,
                    `${member.email} is ${event.target.value} now`,
                  ),
              },
            },
            ROLES.filter((name) => isOwner || name !== "owner").map((name) =>
              el("option", { value: name, selected: name === member.role }, name),
            ),
          );
      return el(
        "tr",
        {},
        el("td", {}, member.email, member.user_id === mine && el("span", { class: "tag" }, "you")),
        el("td", {}, role),
        el(
          "td",
          { class: "quiet", title: fullTime(Date.parse(member.joined_at)) },
          relativeTime(Date.parse(member.joined_at)),
        ),
        el(
          "td",
          { class: "end" },
          !fixed &&
            el(
              "button",
              {
                type: "button",
                class: "button small plain danger",
                on: {
                  click: () =>
                    this.#confirm(
                      member.user_id === mine ? "Leave the organisation?" : `Remove ${member.email}?`,
                      "Access ends within 5 seconds.",
                      "Remove",
                      () =>
                        this.#act(
                          () => this.#ubs("DELETE", `/api/v1/members/${member.user_id}`),
                          this.#members,
                          "Removed",
                        ),
                    ),
                },
              },
              member.user_id === mine ? "Leave" : "Remove",
            ),
        ),
      );
    });
    return [
      el(
        "section",
        { class: "card" },
        el("h2", { class: "section-title" }, "Members"),
        table(["Email", "Role", "Joined", ""], rows),
      ),
      mayChange &&
        el(
          "section",
          { class: "card" },
          el("h2", { class: "section-title" }, "Invitations"),
          this.#inviteForm(isOwner),
          open.length > 0 &&
            table(
              ["Email", "Role", "Expires", ""],
              open.map((invitation) =>
                el(
                  "tr",
                  {},
                  el("td", {}, invitation.email),
                  el("td", {}, el("span", { class: "tag" }, invitation.role)),
                  el("td", { class: "quiet" }, relativeTime(Date.parse(invitation.expires_at))),
                  el(
                    "td",
                    { class: "end" },
                    el(
                      "button",
                      {
                        type: "button",
                        class: "button small plain danger",
                        on: {
                          click: () =>
                            this.#act(
                              () => this.#ubs("DELETE", `/api/v1/invitations/${invitation.id}`),
                              this.#members,
                              "Invitation withdrawn",
                            ),
                        },
                      },
                      "Withdraw",
                    ),
                  ),
                ),
              ),
            ),
        ),
    ];
  }

  #inviteForm(isOwner) {
    const out = el("div", {});
    return el(
      "div",
      { class: "stack" },
      el(
        "form",
        {
          class: "row-form",
          on: {
            submit: async (event) => {
              event.preventDefault();
              const values = Object.fromEntries(new FormData(event.target));
              try {
                const made = await this.#ubs("POST", "/api/v1/invitations", values);
                const link = new URL(made.link, location.origin).href;
                const until = fullTime(Date.parse(made.expires_at));
                fill(
                  out,
                  el(
                    "p",
                    { class: "quiet" },
                    `Send this link to ${made.email}; it is shown this once and works until ${until}.`,
                  ),
                  snippet(link, "Invitation link"),
                );
                event.target.reset();
              } catch (error) {
                fill(out, el("p", { class: "form-trouble", role: "alert" }, error.message));
              }
            },
          },
        },
        el(
          "label",
          { class: "field grow" },
          el("span", {}, "Email"),
          el("input", { class: "input", type: "email", name: "email", required: true, autocomplete: "off" }),
        ),
        el(
          "label",
          { class: "field" },
          el("span", {}, "Role"),
          el(
            "select",
            { class: "select", name: "role" },
            ROLES.filter((name) => isOwner || name !== "owner").map((name) => el("option", { value: name }, name)),
          ),
        ),
        el("button", { type: "submit", class: "button primary" }, "Invite"),
      ),
      out,
    );
  }

  async #keys(signal) {
    if (!this.app.can("admin"))
      return el(
        "section",
        { class: "card" },
        emptyState("Keys are for owners and admins", "Your role cannot see or make API keys."),
      );
    const { keys } = await this.#ubs("GET", "/api/v1/keys", undefined, signal);
    const alive = keys.filter((key) => !key.revoked_at);
    const gone = keys.filter((key) => key.revoked_at);
    const row = (key) =>
      el(
        "tr",
        { class: key.revoked_at ? "off" : "" },
        el("td", {}, el("div", {}, key.name), el("code", { class: "quiet" }, `${key.start}…`)),
        el(
          "td",
          {},
          el(
            "div",
            { class: "tags" },
            key.scopes.map((scope) => el("span", { class: "tag" }, scope)),
          ),
        ),
        el(
          "td",
          { class: "quiet", title: fullTime(Date.parse(key.created_at)) },
          relativeTime(Date.parse(key.created_at)),
        ),
        el("td", { class: "quiet" }, key.last_used_at ? relativeTime(Date.parse(key.last_used_at)) : "never"),
        el(
          "td",
          { class: "quiet" },
          key.revoked_at
            ? `revoked ${relativeTime(Date.parse(key.revoked_at))}`
            : key.expires_at
              ? relativeTime(Date.parse(key.expires_at))
              : "never",
        ),
        el(
          "td",
          { class: "end" },
          !key.revoked_at &&
            el(
              "button",
              {
                type: "button",
                class: "button small plain danger",
                on: {
                  click: () =>
                    this.#confirm(
                      `Revoke “${key.name}”?`,
                      "Agents that use it are refused within 5 seconds. This cannot be undone.",
                      "Revoke",
                      () => this.#act(() => this.#ubs("DELETE", `/api/v1/keys/${key.id}`), this.#keys, "Revoked"),
                    ),
                },
              },
              "Revoke",
            ),
        ),
      );
    const heads = ["Key", "May", "Made", "Last used", "Expires", ""];
    return [
      el("section", { class: "card" }, el("h2", { class: "section-title" }, "New key"), this.#keyForm()),
      el(
        "section",
        { class: "card" },
        el("h2", { class: "section-title" }, "Keys"),
        alive.length === 0
          ? el("p", { class: "quiet" }, "No key yet. Agents need one to send samples.")
          : table(heads, alive.map(row)),
        gone.length > 0 && el("details", {}, el("summary", {}, `${gone.length} revoked`), table(heads, gone.map(row))),
      ),
    ];
  }

  #keyForm() {
    const out = el("div", {});
    return el(
      "div",
      { class: "stack" },
      el(
        "form",
        {
          class: "stack",
          on: {
            submit: async (event) => {
              event.preventDefault();
              const values = new FormData(event.target);
              const scopes = values.getAll("scopes");
              if (scopes.length === 0) {
                fill(
                  out,
                  el("p", { class: "form-trouble", role: "alert" }, "Choose at least one thing the key may do."),
                );
                return;
              }
              const days = values.get("expires");
              try {
                const made = await this.#ubs("POST", "/api/v1/keys", {
                  name: values.get("name"),
                  scopes,
                  expires_in_days: days ? Number(days) : null,
                });
                this.#showKey(made);
                this.#load(this.#keys);
              } catch (error) {
                fill(out, el("p", { class: "form-trouble", role: "alert" }, error.message));
              }
            },
          },
        },
        el(
          "div",
          { class: "row-form" },
          el(
            "label",
            { class: "field grow" },
            el("span", {}, "Name"),
            el("input", {
              class: "input",
              name: "name",
              required: true,
              maxLength: 100,
              autocomplete: "off",
              placeholder: "what will use it",
            }),
          ),
          el(
            "label",
            { class: "field" },
            el("span", {}, "Expires"),
            el(
              "select",
              { class: "select", name: "expires" },
              EXPIRIES.map(([value, words]) => el("option", { value }, words)),
            ),
          ),
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
              el("input", { type: "checkbox", name: "scopes", value: scope, checked: scope.startsWith("metrics:") }),
              words,
            ),
          ),
        ),
      ),
      out,
    );
  }

  #showKey(made) {
    const dialog = el(
      "dialog",
      { class: "dialog", "aria-label": "The new key", on: { close: (event) => event.target.remove() } },
      el("div", { class: "dialog-head" }, el("h2", {}, `“${made.name}” is made`)),
      el("p", { class: "quiet" }, "Copy it now: it is shown this once and kept only as a hash."),
      snippet(made.key, "API key"),
      el(
        "div",
        { class: "form-actions" },
        el("button", { type: "button", class: "button primary", on: { click: () => dialog.close() } }, "I have it"),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  }

  async #audit(signal, before = "") {
    const path = `/api/v1/audit?${new URLSearchParams({ limit: String(AUDIT_PAGE), ...(before ? { before } : {}) })}`;
    const { events } = await this.#ubs("GET", path, undefined, signal);
    if (events.length === 0)
      return el(
        "section",
        { class: "card" },
        emptyState("Nothing was changed yet", "Sign-ins, keys, members and roles are written down here."),
      );
    const body = el("tbody");
    const add = (more) =>
      body.append(
        ...more.map((event) =>
          el(
            "tr",
            {},
            el(
              "td",
              { class: "quiet nowrap", title: relativeTime(Date.parse(event.at)) },
              fullTime(Date.parse(event.at)),
            ),
            el("td", {}, event.actor ?? "–"),
            el("td", {}, el("code", {}, event.action)),
            el("td", { class: "wrap" }, event.target ?? ""),
            el("td", { class: "quiet wrap" }, detailText(event.detail)),
          ),
        ),
      );
    add(events);
    const more = el(
      "button",
      {
        type: "button",
        class: "button",
        hidden: events.length < AUDIT_PAGE,
        on: {
          click: async () => {
            more.disabled = true;
            try {
              const next = await this.#ubs(
                "GET",
                `/api/v1/audit?${new URLSearchParams({ limit: String(AUDIT_PAGE), before: more.dataset.before })}`,
              );
              add(next.events);
              more.hidden = next.events.length < AUDIT_PAGE;
              more.dataset.before = String(next.events.at(-1)?.seq ?? "");
            } catch (error) {
              this.app.toast(error.message, { bad: true });
            } finally {
              more.disabled = false;
            }
          },
        },
      },
      "Show older",
    );
    more.dataset.before = String(events.at(-1).seq);
    return el(
      "section",
      { class: "card" },
      el("h2", { class: "section-title" }, "Audit log"),
      el(
        "div",
        { class: "table-scroll" },
        el("table", { class: "table" }, head(["When", "Who", "Did", "To", "Detail"]), body),
      ),
      more,
    );
  }

  async #organisation() {
    const { organisation, organisations, role, user } = this.app.session;
    const trouble = el("p", { class: "form-trouble", role: "alert" });
    return [
      el(
        "section",
        { class: "card" },
        el("h2", { class: "section-title" }, "This organisation"),
        el(
          "dl",
          { class: "facts-list" },
          pair("Name", organisation.name),
          pair("Short name", organisation.slug),
          pair("Identifier", el("code", {}, organisation.id)),
          pair("You", `${user.email}, ${role}`),
          pair(
            "Also a member of",
            organisations
              .filter(({ id }) => id !== organisation.id)
              .map(({ name }) => name)
              .join(", ") || "no other",
          ),
        ),
      ),
      el(
        "section",
        { class: "card" },
        el("h2", { class: "section-title" }, "Another organisation"),
        el("p", { class: "quiet" }, "Its members, keys and metrics are apart from this one. You own it."),
        el(
          "form",
          {
            class: "row-form",
            on: {
              submit: async (event) => {
                event.preventDefault();
                trouble.textContent = "";
                try {
                  const made = await this.#ubs("POST", "/api/v1/organisations", {
                    name: new FormData(event.target).get("name"),
                  });
                  this.app.signedIn(
                    await this.#ubs("POST", "/api/v1/session/organisation", { organisation_id: made.id }),
                  );
                  this.app.toast(`You are in ${made.name} now`);
                } catch (error) {
                  trouble.textContent = error.message;
                }
              },
            },
          },
          el(
            "label",
            { class: "field grow" },
            el("span", {}, "Name"),
            el("input", { class: "input", name: "name", required: true, maxLength: 100, autocomplete: "off" }),
          ),
          el("button", { type: "submit", class: "button" }, "Create"),
        ),
        trouble,
      ),
    ];
  }

  #confirm(title, text, action, act) {
    const dialog = el(
      "dialog",
      {
        class: "dialog",
        "aria-label": title,
        on: {
          close: (event) => {
            if (event.target.returnValue === "yes") act();
            event.target.remove();
          },
        },
      },
      el("div", { class: "dialog-head" }, el("h2", {}, title)),
      el("p", { class: "quiet" }, text),
      el(
        "form",
        { method: "dialog", class: "form-actions" },
        el("button", { class: "button", value: "no" }, icon("close"), "Keep"),
        el("button", { class: "button danger-fill", value: "yes" }, action),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  }
}

function head(names) {
  return el(
    "thead",
    {},
    el(
      "tr",
      {},
      names.map((name) => el("th", { scope: "col" }, name)),
    ),
  );
}

function table(names, rows) {
  return el("div", { class: "table-scroll" }, el("table", { class: "table" }, head(names), el("tbody", {}, rows)));
}

function pair(name, value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}

function detailText(detail) {
  if (detail === null || detail === undefined) return "";
  if (typeof detail !== "object") return String(detail);
  return Object.entries(detail)
    .map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ");
}

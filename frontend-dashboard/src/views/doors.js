/** The ways in: sign in, set up a fresh hub, accept an invitation. */

import { el, fill } from "../dom.js";
import { logo } from "../elements/shell.js";
import { PASSWORD_MIN, passwordTrouble } from "../state/password.js";
import { afterLogin } from "../state/url.js";

/** A labelled input of a form. */
function field(label, properties, note = "") {
  const input = el("input", { class: "input", required: true, ...properties });
  return el(
    "label",
    { class: "field" },
    el("span", {}, label),
    input,
    note && el("span", { class: "field-note" }, note),
  );
}

/**
 * A field for a new password. `judge` says what is wrong with it; it is called as anything in its form is typed.
 * @param {{strict: boolean}} parts `strict`: a weak one is not sent; without it an old one may be meant
 */
function newPassword(rule, { strict }) {
  const node = field("Password", { name: "password", type: "password", autocomplete: "new-password" }, rule);
  const input = node.querySelector("input");
  const note = node.querySelector(".field-note");
  const judge = () => {
    const { email, organisation } = input.form.elements;
    const context = [email?.value ?? "", organisation?.value ?? ""];
    const trouble = input.value && passwordTrouble(input.value, context);
    note.textContent = trouble || rule;
    note.classList.toggle("bad", strict && trouble !== "");
    if (strict) input.setCustomValidity(trouble);
  };
  return { node, judge };
}

/** What one form of a door does: fields in, a session out; failures stay beside the button. */
class Door extends HTMLElement {
  /** @type {import("../app.js").App} */
  app;

  connectedCallback() {
    this.classList.add("door");
    this.render();
  }

  card(title, text, ...content) {
    fill(
      this,
      el(
        "main",
        { class: "door-card" },
        el("div", { class: "door-brand" }, logo(), el("span", {}, "CloudOpsHub")),
        el("h1", {}, title),
        text && el("p", { class: "door-text" }, text),
        content,
      ),
    );
    this.querySelector("input")?.focus();
  }

  form(fields, action, submit, judge = () => {}) {
    const trouble = el("p", { class: "form-trouble", role: "alert" });
    const button = el("button", { class: "button primary wide", type: "submit" }, action);
    return el(
      "form",
      {
        class: "stack",
        on: {
          input: judge,
          submit: async (event) => {
            event.preventDefault();
            trouble.textContent = "";
            button.disabled = true;
            try {
              const session = await submit(Object.fromEntries(new FormData(event.target)));
              this.app.signedIn(session, afterLogin(this.app.route.params.next));
            } catch (error) {
              trouble.textContent = error.message;
            } finally {
              button.disabled = false;
            }
          },
        },
      },
      fields,
      trouble,
      button,
    );
  }
}

export class LoginView extends Door {
  async render() {
    this.card(
      "Sign in",
      "",
      this.form(
        [
          field("Email", { name: "email", type: "email", autocomplete: "username" }),
          field("Password", { name: "password", type: "password", autocomplete: "current-password" }),
        ],
        "Sign in",
        (values) => this.app.client.ubs("POST", "/api/v1/login", values, { quiet: true }),
      ),
    );
    try {
      const { needed } = await this.app.client.ubs("GET", "/api/v1/setup", undefined, { quiet: true });
      if (needed && this.isConnected) this.#welcome();
    } catch {
      // the form says so itself when it is sent
    }
  }

  #welcome() {
    this.card(
      "Welcome to your hub",
      "It has no owner yet. Open the set-up link that the start printed, or paste its token here.",
      el(
        "form",
        {
          class: "stack",
          on: {
            submit: (event) => {
              event.preventDefault();
              const token = new FormData(event.target)
                .get("token")
                .trim()
                .replace(/^.*#\/setup\//, "");
              this.app.go(`#/setup/${encodeURIComponent(token)}`);
            },
          },
        },
        field(
          "Set-up link or token",
          { name: "token", class: "input mono", autocomplete: "off", spellcheck: false },
          "make run prints it; with compose: docker compose logs user-billing-service",
        ),
        el("button", { class: "button primary wide", type: "submit" }, "Continue"),
      ),
    );
  }
}

export class SetupView extends Door {
  render() {
    const token = this.app.route.path[1] ?? "";
    const password = newPassword(`at least ${PASSWORD_MIN} characters; a few words are fine`, { strict: true });
    this.card(
      "Set up your hub",
      "You become its owner. This link works once.",
      this.form(
        [
          field("Organisation", { name: "organisation", autocomplete: "organization", maxLength: 100 }),
          field("Email", { name: "email", type: "email", autocomplete: "username" }),
          password.node,
        ],
        "Create the hub",
        (values) => this.app.client.ubs("POST", "/api/v1/setup", { token, ...values }, { quiet: true }),
        password.judge,
      ),
    );
  }
}

export class InvitationView extends Door {
  render() {
    const token = this.app.route.path[1] ?? "";
    const rule = `a new one has at least ${PASSWORD_MIN} characters; a few words are fine`;
    const password = newPassword(rule, { strict: false });
    this.card(
      "Join the team",
      "You were invited to an organisation on this hub. With an account here already, give its password.",
      this.form(
        [password.node],
        "Join",
        (values) => this.app.client.ubs("POST", "/api/v1/invitations/accept", { token, ...values }, { quiet: true }),
        password.judge,
      ),
    );
  }
}

/** The ways in: sign in, set up a fresh hub, accept an invitation. */

import { el, fill } from "../dom.js";
import { logo } from "../elements/shell.js";
import { PASSWORD_MIN, passwordTrouble } from "../state/password.js";
import { afterLogin, formatHash } from "../state/url.js";

/** A labelled input of a form. */
export function field(label, properties, note = "") {
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
export function newPassword(rule, { strict }) {
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

/** What one form of a door does: fields in, a session or one more step out; failures stay beside the button. */
export class Door extends HTMLElement {
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
    this.querySelector("input, a.button, button")?.focus();
  }

  /** POST to ubs; a refusal leads nowhere else. */
  post(path, body) {
    return this.app.client.ubs("POST", `/api/v1/${path}`, body, { quiet: true });
  }

  /** @param {{judge?: () => void, done?: (answer: object) => void}} parts `done` is given what `submit` got */
  form(fields, action, submit, { judge = () => {}, done = (answer) => this.enter(answer) } = {}) {
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
              done(await submit(Object.fromEntries(new FormData(event.target))));
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

  /** Inside with a session; where the answer is a challenge, a code is asked for first. */
  enter(answer) {
    if (answer.challenge) this.codeStep(answer.challenge);
    else this.app.signedIn(answer, afterLogin(this.app.route.params.next));
  }

  codeStep(challenge) {
    this.card(
      "One more step",
      "",
      this.form(
        [
          field("Code from your authenticator, or a recovery code", {
            name: "code",
            autocomplete: "one-time-code",
            autocapitalize: "off",
            spellcheck: false,
          }),
        ],
        "Sign in",
        ({ code }) => this.post("login/code", { challenge, code }),
      ),
      this.startAgain(),
    );
  }

  /** The door as it is without a step that was begun. */
  startAgain() {
    const { path, params } = this.app.route;
    const start = () => this.app.go(formatHash({ path, params: { next: params.next } }), { replace: true });
    return el("button", { class: "link", on: { click: start } }, "Start again");
  }
}

export class LoginView extends Door {
  render() {
    const { challenge, link, provider } = this.app.route.params;
    if (challenge) this.codeStep(challenge);
    else if (link) this.#linkStep(link, provider);
    else this.#passwordStep();
  }

  #passwordStep() {
    const start = this.form(
      [
        field("Email", { name: "email", type: "email", autocomplete: "username" }),
        field("Password", { name: "password", type: "password", autocomplete: "current-password" }),
      ],
      "Sign in",
      (values) => this.post("login", values),
    );
    this.card("Sign in", "", start, el("a", { class: "link", href: "#/forgotten" }, "Forgot your password?"));
    this.#whenFresh();
    this.#addProviders(start);
  }

  async #whenFresh() {
    try {
      const { needed } = await this.app.client.ubs("GET", "/api/v1/setup", undefined, { quiet: true });
      if (needed && this.isConnected) this.#welcome();
    } catch {
      // the form says so itself when it is sent
    }
  }

  /** Below the form: a way in by each provider; above it: why the last try by one failed. */
  async #addProviders(start) {
    try {
      const { providers, errors } = await this.app.client.ubs("GET", "/api/v1/oidc", undefined, { quiet: true });
      const reason = this.app.route.params.oidc_error;
      if (reason)
        start.before(
          el("p", { class: "form-trouble", role: "alert" }, errors[reason] ?? "The provider did not sign you in."),
        );
      start.after(
        ...providers.map(({ name, title }) =>
          el(
            "a",
            { class: "button wide", href: `/api/ubs/api/v1/oidc/${encodeURIComponent(name)}/start` },
            `Sign in with ${title}`,
          ),
        ),
      );
    } catch {
      // the password is a way in too
    }
  }

  /** Back from a provider that vouches for the address of an account: the account's password links the two. */
  #linkStep(challenge, provider) {
    this.card(
      "Link your account",
      `There is an account with your address. Give its password once; then ${provider || "the provider"} signs you in.`,
      this.form(
        [field("Password", { name: "password", type: "password", autocomplete: "current-password" })],
        "Link and sign in",
        ({ password }) => this.post("oidc/link", { challenge, password }),
      ),
      this.startAgain(),
    );
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
        (values) => this.post("setup", { token, ...values }),
        password,
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
      this.form([password.node], "Join", (values) => this.post("invitations/accept", { token, ...values }), password),
    );
  }
}

/** The doors that letters lead to: a forgotten password, an address to confirm. */

import { el } from "../dom.js";
import { PASSWORD_MIN } from "../state/password.js";
import { Door, field, newPassword } from "./doors.js";

export class ForgottenView extends Door {
  render() {
    const sent = () =>
      this.card(
        "Look into your mail",
        "If the address has an account here, a link to a new password is on its way to it.",
        onwards("#/login", "Back to signing in"),
      );
    this.card(
      "Forgot your password?",
      "A letter with a link brings a new one.",
      this.form(
        [field("Email", { name: "email", type: "email", autocomplete: "username" })],
        "Send the link",
        (values) => this.post("password/forgotten", values),
        { done: sent },
      ),
      el("a", { class: "link", href: "#/login" }, "Back to signing in"),
    );
  }
}

export class ResetView extends Door {
  render() {
    const token = this.app.route.path[1] ?? "";
    const password = newPassword(`at least ${PASSWORD_MIN} characters; a few words are fine`, { strict: true });
    const done = () => {
      this.app.signedIn(null, "#/login"); // every session of the person has ended
      this.app.toast("Sign in with your new password");
    };
    this.card(
      "A new password",
      "It ends every session of yours. This link works once.",
      this.form([password.node], "Set the password", (values) => this.post("password/reset", { token, ...values }), {
        judge: password.judge,
        done,
      }),
    );
  }
}

/** A button that confirms an address, since programs that look through mail open links too. */
class AddressDoor extends Door {
  confirm(text, path) {
    const token = this.app.route.path[1] ?? "";
    this.card(
      "Confirm your address",
      text,
      this.form([], "Confirm", () => this.post(path, { token }), {
        done: () => this.card("Confirmed", "", onwards("#/overview", "Go on")),
      }),
    );
  }
}

export class VerifyView extends AddressDoor {
  render() {
    this.confirm("You can read mail at the address that your account has.", "email/verify");
  }
}

export class AddressView extends AddressDoor {
  render() {
    this.confirm("From now on you sign in with the address that the letter names.", "email/confirm");
  }
}

function onwards(href, words) {
  return el("a", { class: "button primary wide", href }, words);
}

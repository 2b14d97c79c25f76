import { passwordTrouble } from "../../src/state/password.js";
import { equal, ok, test } from "./harness.js";

const CONTEXT = ["Margarethe@example.org", "Otter Works"];

test("A password has 15 to 256 characters, counted as a person counts them.", () => {
  equal(passwordTrouble("fourteen chars", []), "14 of at least 15 characters");
  equal(passwordTrouble("🦊".repeat(5) + " 8 chars", []), "13 of at least 15 characters");
  ok(passwordTrouble("yz3".repeat(85) + "xx", []).startsWith("257 characters"));
  equal(passwordTrouble("otter".repeat(51) + "x", []), "");
});

test("Repetition, an alphabet and a row of keys are called a pattern, also backwards.", () => {
  for (const text of [
    "a".repeat(16),
    "abcabcabcabcabcabc",
    "abcdefghijklmnopqr",
    "zyxwvutsrqponmlk",
    "QWERTYUIOPasdfg",
  ])
    ok(passwordTrouble(text, []).includes("pattern"), text);
});

test("What is mostly one's address, organisation or the product is named.", () => {
  equal(passwordTrouble("margarethe12345", CONTEXT), "Mostly “margarethe”, which is guessed early: add other words");
  ok(passwordTrouble("otter works 2026", CONTEXT).includes("otter works"));
  ok(passwordTrouble("cloudopshub-2026", []).includes("cloudopshub"));
  equal(passwordTrouble("margarethe swims at night", CONTEXT), "");
});

test("A phrase needs no digit and no capital, in any script.", () => {
  for (const text of ["tuesday coffee orbit", "пароль длинный и свой", "x7$Lq!0vZ_e-93b"])
    equal(passwordTrouble(text, CONTEXT), "");
});

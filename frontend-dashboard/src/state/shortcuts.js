/** Whether single letters act (WCAG 2.1.4): whoever speaks to the browser may turn them off. Kept in the browser. */

const NAME = "coh-letters";
let acting = read();

function read() {
  try {
    return localStorage.getItem(NAME) !== "off";
  } catch {
    return true;
  }
}

export function lettersAct() {
  return acting;
}

export function setLettersAct(on) {
  acting = on;
  try {
    localStorage.setItem(NAME, on ? "on" : "off");
  } catch {
    // holds while the page lives
  }
}

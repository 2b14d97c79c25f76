/** The theme: light, dark or the system's; kept in this browser, told to charts by an event. */

const KEY = "coh-theme";
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
export const themeEvents = new EventTarget();

/** @returns {"light"|"dark"|"system"} */
export function themeChoice() {
  try {
    return localStorage.getItem(KEY) ?? "system";
  } catch {
    return "system";
  }
}

/** The page wears `choice` from now on. */
export function chooseTheme(choice) {
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    // kept for this page only
  }
  apply();
}

function apply() {
  const choice = themeChoice();
  const theme = choice === "dark" || (choice === "system" && darkSystem.matches) ? "dark" : "light";
  if (document.documentElement.dataset.theme === theme) return;
  document.documentElement.dataset.theme = theme;
  themeEvents.dispatchEvent(new Event("change"));
}

darkSystem.addEventListener("change", apply);

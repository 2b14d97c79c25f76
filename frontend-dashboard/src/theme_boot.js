// Runs before the first paint, and so is a small classic script of its own: the chosen theme never flashes the other
// one.
(function () {
  var choice = "system";
  try {
    choice = localStorage.getItem("coh-theme") || "system";
  } catch {
    // storage may be blocked; the system's theme then
  }
  var dark = choice === "dark" || (choice === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();

// Runs before everything else, and so is a small classic script of its own: a start that fails is tried again a few
// times, and then it is said. A module whose fetch failed stays failed for the life of the document, so the try is a
// reload; what did arrive is in the cache. The count of tries lives in the history entry: it outlives a reload and
// needs no storage.
(function () {
  var WAITS_MS = [300, 1000, 2000, 4000];
  var BOUND_MS = 20000;
  var tries = (history.state && history.state.startTries) || 0;
  var styleTries = 0;
  var failed = false;
  var bound = setTimeout(function () {
    say("It takes very long to load.");
  }, BOUND_MS);

  function place() {
    return document.querySelector("#app > .boot, #app > .start-failed");
  }

  function make(tag, className, text) {
    var node = document.createElement(tag);
    node.className = className;
    if (text) node.textContent = text;
    return node;
  }

  function say(text) {
    var old = place();
    if (!old) return;
    var main = make("main", "door start-failed");
    var card = make("div", "door-card");
    var state = make("div", "state state-failed");
    var actions = make("div", "state-actions");
    var button = make("button", "button", "Try again");
    state.setAttribute("role", "alert");
    button.type = "button";
    button.addEventListener("click", function () {
      history.replaceState(null, "");
      location.reload();
    });
    actions.append(button);
    state.append(make("p", "state-title", "CloudOpsHub did not start"), make("p", "state-text", text), actions);
    card.append(state);
    main.append(card);
    old.replaceWith(main);
  }

  /** Calls `act` after `ms`, and not before the document has settled: a load under way is not cut off. */
  function later(act, ms) {
    if (document.readyState === "complete") setTimeout(act, ms);
    else
      addEventListener(
        "load",
        function () {
          setTimeout(act, ms);
        },
        { once: true },
      );
  }

  function again() {
    if (failed) return;
    failed = true;
    later(
      function () {
        clearTimeout(bound);
        if (tries >= WAITS_MS.length) {
          say("A part of the page could not be loaded. Is the hub running, and are you online?");
          return;
        }
        history.replaceState({ startTries: tries + 1 }, "");
        location.reload();
      },
      tries < WAITS_MS.length ? WAITS_MS[tries] : 0,
    );
  }

  /** A style sheet can be asked for in place; without it the page still works. */
  function styleAgain(link) {
    if (styleTries >= WAITS_MS.length) return;
    later(function () {
      link.replaceWith(link.cloneNode());
    }, WAITS_MS[styleTries]);
    styleTries += 1;
  }

  function onError(event) {
    var target = event.target;
    if (target instanceof HTMLLinkElement && target.rel === "stylesheet") styleAgain(target);
    else if (target instanceof HTMLScriptElement && target.type === "module") again();
    else if (target === window && place()) {
      clearTimeout(bound);
      say(event.message);
    }
  }

  addEventListener("unhandledrejection", function (event) {
    if (!place()) return;
    clearTimeout(bound);
    say(String((event.reason && event.reason.message) || event.reason));
  });
  addEventListener("error", onError, true); // a resource's error does not bubble; capturing sees it
  document.addEventListener(
    "coh-started",
    function () {
      clearTimeout(bound);
      if (tries > 0) history.replaceState(null, "");
      tries = 0;
    },
    { once: true },
  );
})();

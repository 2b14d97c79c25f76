/** A text field with a list of choices under it that narrows as one types (ARIA combobox with a listbox). */

import { el, fill } from "../dom.js";
import { search, searchIndex } from "../state/search.js";

let serial = 0;

/**
 * @param {object} parts
 * @param {string} parts.label
 * @param {() => Promise<string[]>} parts.load asked when the list opens; Enter pressed before it answers chooses once
 * it does
 * @param {(value: string) => void} parts.choose
 * @param {(name: string) => string} [parts.describe] small text beside a choice
 * @param {boolean} [parts.free] whether text that is no choice counts too
 */
export function combobox({
  label,
  placeholder = "",
  value = "",
  load,
  choose,
  describe = () => "",
  free = false,
  className = "",
  primary = false,
}) {
  serial += 1;
  const id = `combo-${serial}`;
  const list = el("ul", { class: "combo-list", id, role: "listbox", "aria-label": label, hidden: true });
  const input = el("input", {
    class: "input",
    value,
    placeholder,
    spellcheck: false,
    autocomplete: "off",
    role: "combobox",
    "aria-label": label,
    "aria-expanded": "false",
    "aria-controls": id,
    "aria-autocomplete": "list",
    ...(primary ? { "data-search": "secondary" } : {}),
  });
  const host = el("div", { class: `combo ${className}` }, input, list);
  let index = null;
  let hits = [];
  let active = -1;
  let chosen = value;
  let opening = 0; // which opening of the list an answer belongs to
  let entered = null; // the text Enter was pressed on while the list was still on its way

  async function open() {
    opening += 1;
    const mine = opening;
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    if (index === null) {
      fill(list, el("li", { class: "combo-note" }, "Loading…"));
      let names;
      try {
        names = await load();
      } catch (error) {
        if (mine !== opening) return;
        fill(list, el("li", { class: "combo-note bad" }, error.message));
        giveUp();
        return;
      }
      if (mine !== opening) return; // closed since, or asked again
      index = searchIndex(names);
    }
    draw();
    if (entered !== null && active >= 0) take(hits[active]);
    else giveUp();
  }

  /** What Enter asked for does not exist: the field says what holds, unless the person is still in it. */
  function giveUp() {
    if (entered === null) return;
    entered = null;
    if (document.activeElement === input) return;
    input.value = chosen;
    close();
  }

  function close() {
    opening += 1;
    entered = null;
    list.hidden = true;
    index = null; // names come and go: asked again next time
    hits = [];
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    active = -1;
  }

  function draw() {
    const text = input.value === chosen ? "" : input.value;
    const found = search(index, text);
    hits = found.hits;
    active = text && hits.length > 0 ? 0 : hits.indexOf(chosen);
    fill(
      list,
      hits.map((name, at) =>
        el(
          "li",
          {
            id: `${id}-${at}`,
            role: "option",
            class: "combo-option",
            "aria-selected": "false",
            on: {
              pointerdown: (event) => {
                event.preventDefault();
                take(name);
              },
            },
          },
          el("span", {}, name),
          describe(name) && el("small", {}, describe(name)),
        ),
      ),
      hits.length === 0 && el("li", { class: "combo-note" }, index.length === 0 ? "Nothing here yet" : "No match"),
      found.total > hits.length && el("li", { class: "combo-note" }, `${found.total - hits.length} more; keep typing`),
    );
    mark();
  }

  function mark() {
    [...list.querySelectorAll("[role=option]")].forEach((option, at) => {
      option.setAttribute("aria-selected", String(at === active));
      if (at === active) {
        option.scrollIntoView({ block: "nearest" });
        input.setAttribute("aria-activedescendant", option.id);
      }
    });
  }

  function take(name) {
    chosen = name;
    input.value = name;
    close();
    choose(name);
  }

  let entering = false; // by a click: its end puts the caret somewhere
  input.addEventListener("pointerdown", () => {
    entering = document.activeElement !== input;
  });
  input.addEventListener("focus", () => {
    input.select(); // what is typed replaces the choice
    open();
  });
  input.addEventListener("click", () => {
    if (entering && input.selectionStart === input.selectionEnd) input.select();
    entering = false;
    if (list.hidden) open();
  });
  input.addEventListener("input", () => {
    if (list.hidden) open();
    else if (index) draw();
    else entered = null;
  });
  input.addEventListener("blur", () => {
    if (entered !== null) return; // chosen already; the list's answer settles it
    if (input.value !== chosen) {
      if (free || input.value === "") take(input.value);
      else input.value = chosen;
    }
    close();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) open();
      else if (hits.length > 0) {
        active = (active + (event.key === "ArrowDown" ? 1 : -1) + hits.length) % hits.length;
        mark();
      }
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (!list.hidden && active >= 0 && hits[active] !== undefined) take(hits[active]);
      else if (free) take(input.value);
      else if (!list.hidden && index === null && input.value !== "") entered = input.value;
    } else if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      input.value = chosen;
      close();
    }
  });
  return host;
}

/** What makes a password weak, in words, as it is typed. The service knows more and has the last word. Pure. */

export const PASSWORD_MIN = 15;
const PASSWORD_MAX = 256;
const ROWS = ["abcdefghijklmnopqrstuvwxyz", "01234567890123456789", "qwertyuiopasdfghjklzxcvbnm"];
const PRODUCT = ["cloudopshub", "password"];
const WORD_MIN = 4;
const OWN_MIN = 8; // characters that are nobody's address or name

/**
 * What is wrong with `password`; empty where nothing is seen.
 * @param {string[]} context what one would guess first: address, organisation
 */
export function passwordTrouble(password, context) {
  const text = password.normalize("NFC");
  const { length } = [...text];
  if (length < PASSWORD_MIN) return `${length} of at least ${PASSWORD_MIN} characters`;
  if (length > PASSWORD_MAX) return `${length} characters; it may have ${PASSWORD_MAX}`;
  const lower = text.toLowerCase();
  if (isPattern(lower)) return "A pattern like this is guessed early: use a few words";
  const words = context.flatMap((part) => {
    const whole = part.toLowerCase().trim();
    return [whole, whole.split("@")[0]].filter((word) => word.length >= WORD_MIN);
  });
  const word = [...PRODUCT, ...words].find((one) => lower.includes(one) && own(lower, one) < OWN_MIN);
  return word ? `Mostly “${word}”, which is guessed early: add other words` : "";
}

function own(text, word) {
  return [...text.replaceAll(word, "")].length;
}

/** Whether it repeats up to four characters, or walks along a row of letters, digits or keys. */
function isPattern(text) {
  const letters = [...text];
  const backwards = letters.toReversed().join("");
  return (
    [1, 2, 3, 4].some((width) => letters.every((letter, at) => letter === letters[at % width])) ||
    ROWS.some((line) => line.includes(text) || line.includes(backwards))
  );
}

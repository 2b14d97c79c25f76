/** Long work in steps, so that the page answers its person in between. */

/** What a generator returns, with a pause at each `yield`; rejects when `signal` ended meanwhile. */
export async function inSteps(steps, signal, pause = nextTask) {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await pause();
    signal?.throwIfAborted();
  }
}

/** What a generator returns, at once. */
export function atOnce(steps) {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

function nextTask() {
  return (
    globalThis.scheduler?.yield?.() ??
    new Promise((resolve) => {
      setTimeout(resolve);
    })
  );
}

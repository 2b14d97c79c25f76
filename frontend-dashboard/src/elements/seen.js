/** Whether an element can be seen. */

/** `refresher` asks only while `element` is in the window or near it, until `signal` ends. */
export function whileSeen(element, refresher, signal) {
  refresher.seen = false;
  const observer = new IntersectionObserver(
    (entries) => {
      refresher.seen = entries.at(-1).isIntersecting;
    },
    { rootMargin: "100px" },
  );
  observer.observe(element);
  signal.addEventListener("abort", () => {
    observer.disconnect();
    refresher.seen = false;
    refresher.stop();
  });
}

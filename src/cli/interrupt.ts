/** @file Ctrl-C and SIGTERM as an AbortSignal: the first asks to stop in order, the second stops at once. */

/**
 * @param onFirst  told once, when the first signal comes
 * @returns        the signal, and a function that takes the handlers off again
 */
export function interruptSignal(onFirst: () => void): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  const handler = () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
    onFirst();
  };
  process.on('SIGINT', handler);
  process.on('SIGTERM', handler);
  return {
    signal: controller.signal,
    release: () => {
      process.off('SIGINT', handler);
      process.off('SIGTERM', handler);
    },
  };
}

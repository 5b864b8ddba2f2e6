/** @file Gives way to the event loop between two stretches of work, so that signals, timers and output have their turn. */

/**
 * Kernels run on the calling thread: without this a loop of steps would never see Ctrl-C or an aborted signal. A page has
 * no `setImmediate`, and its timers wait at least 4 ms once they are nested; a message does not wait.
 */
export const giveWay: () => Promise<void> =
  typeof setImmediate === 'function'
    ? () => new Promise((resolve) => setImmediate(resolve))
    : () =>
        new Promise((resolve) => {
          const { port1, port2 } = new MessageChannel();
          const receiver = port1 as unknown as EventTarget; // Node's types make it an emitter
          receiver.addEventListener('message', () => {
            port1.close();
            resolve();
          });
          port1.start();
          port2.postMessage(null);
        });

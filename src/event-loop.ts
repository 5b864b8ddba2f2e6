/** @file Gives way to the event loop between two stretches of work, so that signals, timers and output have their turn. */

/** Kernels run on the calling thread: without this a loop of steps would never see Ctrl-C or an aborted signal. */
export const giveWay = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

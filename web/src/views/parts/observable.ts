/** @file State that lives on while its view is not shown, and tells the view when it changes. What is in it is its owner's. */
import { useEffect, useState } from 'preact/hooks';

export class Observable<State extends object> {
  #state: State;
  readonly #watchers = new Set<() => void>();

  constructor(state: State) {
    this.#state = state;
  }

  get state(): State {
    return this.#state;
  }

  protected change(changes: Partial<State>): void {
    this.#state = { ...this.#state, ...changes };
    for (const watcher of this.#watchers) watcher();
  }

  /** @returns what ends it */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }
}

/** The state as it is; the component is drawn again when it changes. */
export function useObservable<State extends object>(observable: Observable<State>): State {
  const [, redraw] = useState({});
  useEffect(() => {
    redraw({}); // it may have changed since the component was drawn
    return observable.watch(() => redraw({}));
  }, [observable]);
  return observable.state;
}

export const sentenceOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

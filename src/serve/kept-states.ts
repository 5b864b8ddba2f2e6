/** @file States that clients keep by an id, to go on from again and again. Ids are random: whoever knows one may use it. */
import { randomUUID } from 'node:crypto';
import type { SavedState } from '../model/state-file.js';
import { ApiError } from './errors.js';
import type { StateInfo } from './protocol.js';

export interface KeptState {
  readonly saved: SavedState;
  /** All tokens that it has read. */
  readonly tokens: readonly number[];
  readonly info: StateInfo;
}

export class KeptStates {
  readonly #states = new Map<string, KeptState>();
  readonly #most: number;

  /** @param most  states that may be kept */
  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#states.size;
  }

  /** Takes over a state. @returns its id @throws ApiError when too many are kept. */
  keep(tokens: Int32Array, saved: SavedState): string {
    if (this.#states.size >= this.#most) {
      saved.state.dispose();
      throw new ApiError(429, `there are ${this.#most} kept states already; delete one`, null, 'too_many_states');
    }
    const id = `state-${randomUUID()}`;
    const info = { id, created: Math.floor(Date.now() / 1000), tokens: saved.tokens, bytes: saved.state.bytes };
    this.#states.set(id, { saved, tokens: [...tokens], info });
    return id;
  }

  /** @throws ApiError when there is none of this id. */
  get(id: string): KeptState {
    const state = this.#states.get(id);
    if (state === undefined) throw new ApiError(404, 'there is no state of this id', 'state_id', 'state_not_found');
    return state;
  }

  list(): StateInfo[] {
    return [...this.#states.values()].map(({ info }) => info);
  }

  /** @throws ApiError when there is none of this id. */
  delete(id: string): void {
    this.get(id).saved.state.dispose();
    this.#states.delete(id);
  }

  dispose(): void {
    for (const { saved } of this.#states.values()) saved.state.dispose();
    this.#states.clear();
  }
}

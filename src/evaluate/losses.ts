/** @file The loss of each next token of given sequences, in stretches that bound the memory. It adds nothing up. */
import type { FloatArray } from '../device/device.js';
import { giveWay } from '../event-loop.js';
import type { LanguageModel } from '../model/language-model.js';
import type { ModelState } from '../model/state.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { EvaluateOptions } from './token-text.js';

/** Tokens that are computed at once. */
const STRETCH = 1024;

/** Reads B sequences side by side, carrying their states; begins before their first tokens. */
export class LossReader {
  readonly #model: LanguageModel;
  readonly #B: number;
  #state: ModelState;

  constructor(model: LanguageModel, B = 1) {
    this.#model = model;
    this.#B = B;
    this.#state = model.initialState(B);
  }

  /**
   * @param inputs   [B,T] flat, what is read next
   * @param targets  [B,T] flat, the token after each; -1 where none is to be predicted
   * @returns        -log p of each target in nats [B,T] flat, 0 where there is none
   * @throws the signal's reason when it aborts.
   */
  async read(inputs: Int32Array, targets: Int32Array, options: EvaluateOptions = {}): Promise<FloatArray> {
    const B = this.#B;
    const T = inputs.length / B;
    const stretch = Math.max(1, Math.floor(STRETCH / B));
    const losses = new Float64Array(B * T);
    for (let from = 0; from < T; from += stretch) {
      options.signal?.throwIfAborted();
      const t = Math.min(stretch, T - from);
      const part = await this.#part(columns(inputs, B, from, t), columns(targets, B, from, t), t);
      for (let row = 0; row < B; row++) losses.set(part.subarray(row * t, (row + 1) * t), row * T + from);
      options.onProgress?.({ bytes: 0, tokens: B * t });
      await giveWay();
    }
    return losses;
  }

  async #part(inputs: Int32Array, targets: Int32Array, t: number): Promise<FloatArray> {
    const { device } = this.#model;
    const shape = [this.#B, t];
    const { losses, state } = scope(device, { collect: true }, () =>
      this.#model.losses(Tensor.from(device, inputs, shape), Tensor.from(device, targets, shape), {
        state: this.#state,
      }),
    );
    this.#state.dispose();
    this.#state = state;
    const data = await losses.data();
    losses.dispose();
    return data;
  }

  [Symbol.dispose](): void {
    this.#state.dispose();
  }
}

/** Columns `from` to `from + t` of a matrix of B rows. */
function columns(data: Int32Array, B: number, from: number, t: number): Int32Array {
  const T = data.length / B;
  if (t === T) return data;
  const part = new Int32Array(B * t);
  for (let row = 0; row < B; row++) part.set(data.subarray(row * T + from, row * T + from + t), row * t);
  return part;
}

/** Tokens of all rows that wait for each other, and values of the state of all of them (256 MB of float32). */
const BATCH = 4096;
const BATCH_STATE = 1 << 26;

interface Row {
  readonly inputs: Int32Array;
  readonly targets: Int32Array;
  readonly onLosses: (losses: FloatArray) => void;
}

/** Sequences that each begin from nothing: those of one length are computed together. */
export class RowReader {
  readonly #model: LanguageModel;
  readonly #options: EvaluateOptions;
  readonly #waiting = new Map<number, Row[]>();

  constructor(model: LanguageModel, options: EvaluateOptions = {}) {
    this.#model = model;
    this.#options = options;
  }

  /** Computes the losses [T] of a row now or later, at the latest in `finish`. */
  async add(inputs: Int32Array, targets: Int32Array, onLosses: Row['onLosses']): Promise<void> {
    const T = inputs.length;
    if (T === 0) return;
    const rows = this.#waiting.get(T) ?? [];
    rows.push({ inputs, targets, onLosses });
    this.#waiting.set(T, rows);
    const next = rows.length + 1;
    if (next * T > BATCH || next * this.#model.stateSize > BATCH_STATE) await this.#compute(T);
  }

  async finish(): Promise<void> {
    for (const T of this.#waiting.keys()) await this.#compute(T);
  }

  async #compute(T: number): Promise<void> {
    const rows = this.#waiting.get(T)!;
    this.#waiting.delete(T);
    const join = (of: (row: Row) => Int32Array): Int32Array => {
      const all = new Int32Array(rows.length * T);
      rows.forEach((row, k) => all.set(of(row), k * T));
      return all;
    };
    using reader = new LossReader(this.#model, rows.length);
    const losses = await reader.read(
      join(({ inputs }) => inputs),
      join(({ targets }) => targets),
      this.#options,
    );
    rows.forEach(({ onLosses }, k) => onLosses(losses.subarray(k * T, (k + 1) * T)));
  }
}

/**
 * @file What sLSTM and LSTM share: four gates whose pre-activations read the last h of their own head through a
 * block-diagonal matrix. The cells themselves are in `slstm.ts` and `lstm.ts`.
 */
import type { DeviceBuffer } from '../kernels.js';
import { floats, optionalFloats } from './buffer.js';

export const GATES = 4;

/** Sizes of a recurrent call. */
export interface RecurrentSizes {
  readonly B: number;
  readonly T: number;
  readonly NH: number;
  readonly DH: number;
}

/** Reads a four-gate sequence: `gateInputs(...)(g)[at]`, each [B,T,NH,DH]. */
export function gateBuffers(gates: readonly DeviceBuffer[], { B, T, NH, DH }: RecurrentSizes): Float64Array[] {
  return gates.map((gate) => floats(gate, B * T * NH * DH));
}

/** The block-diagonal recurrent matrix and bias of a cell. */
export class Recurrence {
  readonly #R: Float64Array;
  readonly #bias: Float64Array | null;
  readonly #NH: number;
  readonly #DH: number;

  /** @param recurrent [NH,4,DH,DH]  @param bias [4,NH,DH] or null */
  constructor(recurrent: DeviceBuffer, bias: DeviceBuffer | null, { NH, DH }: RecurrentSizes) {
    this.#R = floats(recurrent, NH * GATES * DH * DH);
    this.#bias = optionalFloats(bias, GATES * NH * DH);
    this.#NH = NH;
    this.#DH = DH;
  }

  /** bias[g,k,j] + sum_i R[k,g,j,i] hPrev[i], what gate g of unit (k,j) gets besides its input. */
  term(g: number, k: number, j: number, hPrev: Float64Array): number {
    let sum = this.#bias?.[(g * this.#NH + k) * this.#DH + j] ?? 0;
    for (let i = 0; i < this.#DH; i++) sum += this.#R[((k * GATES + g) * this.#DH + j) * this.#DH + i]! * hPrev[i]!;
    return sum;
  }

  /** dhPrev[i] += dgate R[k,g,j,i] for the gradient `dgate` of that term. */
  addToState(dhPrev: Float64Array, g: number, k: number, j: number, dgate: number): void {
    for (let i = 0; i < this.#DH; i++) dhPrev[i]! += dgate * this.#R[((k * GATES + g) * this.#DH + j) * this.#DH + i]!;
  }
}

/** Gradients of a `Recurrence`; they are added to. */
export class RecurrenceGradient {
  readonly #dR: Float64Array;
  readonly #dbias: Float64Array | null;
  readonly #NH: number;
  readonly #DH: number;

  constructor(drecurrent: DeviceBuffer, dbias: DeviceBuffer | null, { NH, DH }: RecurrentSizes) {
    this.#dR = floats(drecurrent, NH * GATES * DH * DH);
    this.#dbias = optionalFloats(dbias, GATES * NH * DH);
    this.#NH = NH;
    this.#DH = DH;
  }

  /** Adds what gate g of unit (k,j) with gradient `dgate` gives: bias[g,k,j] + sum_i R[k,g,j,i] hPrev[i]. */
  add(g: number, k: number, j: number, dgate: number, hPrev: Float64Array): void {
    if (this.#dbias) this.#dbias[(g * this.#NH + k) * this.#DH + j]! += dgate;
    for (let i = 0; i < this.#DH; i++) this.#dR[((k * GATES + g) * this.#DH + j) * this.#DH + i]! += dgate * hPrev[i]!;
  }
}

/** State s of head (b,k) out of [S,B,NH,DH] as a copy of [DH], or `initial` everywhere when there is no state. */
export function headState(
  state: Float64Array | null,
  s: number,
  b: number,
  k: number,
  { B, NH, DH }: RecurrentSizes,
  initial: number,
): Float64Array {
  const at = ((s * B + b) * NH + k) * DH;
  return state ? state.slice(at, at + DH) : new Float64Array(DH).fill(initial);
}

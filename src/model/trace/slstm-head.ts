/**
 * @file One head of an sLSTM over a text, in float64 on the host: gates, cell, normaliser, stabiliser and h of every unit, and
 * which share of each step's h was written when. Everything comes from the inputs and outputs of the cell.
 */
import { sigmoid } from '../../device/reference/functions.js';
import { GateTrace } from './gates.js';

/** What goes into a head over T steps, and comes out. */
export interface SlstmHeadData {
  /** i f z o, each [T,DH], before recurrent part and bias. */
  readonly gates: readonly [Float64Array, Float64Array, Float64Array, Float64Array];
  /** [4*DH,DH] */
  readonly recurrent: Float64Array;
  /** i f z o, [4*DH] */
  readonly bias: Float64Array;
  /** [T,DH], as the device computed it; also what the recurrent part reads. */
  readonly h: Float64Array;
  /** c n m h, each [DH], before the first step; null at the start of a text. */
  readonly before: readonly [Float64Array, Float64Array, Float64Array, Float64Array] | null;
}

/**
 * c_t = f' c + i' z and n_t = f' n + i', h_t = o c_t / n_t of each unit (arXiv 2405.04517 eq. 8-17), unrolled over the writes:
 *
 *     h_t = o_t (sum over s <= t of share(s,t) z_s  + what is left of the cell before / n_t)
 *     share(s,t) = weight(s,t) / n_t
 *
 * The shares of a text from its start sum to 1: h is a weighted mean of what was written. All arrays are [T,DH].
 */
export class SlstmHeadTrace {
  readonly steps: number;
  readonly DH: number;
  /** DH lanes; the pre-activations with recurrent part and bias. */
  readonly gates: GateTrace;
  /** What each step writes, tanh(z~). */
  readonly z: Float64Array;
  /** The output gate, sigmoid(o~). */
  readonly o: Float64Array;
  readonly c: Float64Array;
  readonly n: Float64Array;
  readonly h: Float64Array;
  readonly #before: SlstmHeadData['before'];

  constructor(data: SlstmHeadData) {
    const { h, before, bias } = data;
    const DH = bias.length / 4;
    [this.steps, this.DH, this.h, this.#before] = [h.length / DH, DH, h, before];
    const [iPre, fPre, zPre, oPre] = data.gates.map((_, gate) => preActivations(data, gate, DH));
    this.gates = new GateTrace(iPre!, fPre!, before?.[2] ?? new Array<number>(DH).fill(-Infinity), 'exponential');
    this.z = zPre!.map(Math.tanh);
    this.o = oPre!.map(sigmoid);
    [this.c, this.n] = [new Float64Array(h.length), new Float64Array(h.length)];
    for (let at = 0; at < h.length; at++) {
      const [c, n] = at < DH ? [before?.[0][at] ?? 0, before?.[1][at] ?? 0] : [this.c[at - DH]!, this.n[at - DH]!];
      const [i, f] = [this.gates.i[at]!, this.gates.f[at]!];
      this.c[at] = f * c + i * this.z[at]!;
      this.n[at] = f * n + i;
    }
  }

  /** The share that what step s wrote has in h of step t, per unit [DH]; zeros for s > t. */
  share(s: number, t: number): Float64Array {
    return Float64Array.from({ length: this.DH }, (_, j) => this.gates.weight(s, t, j) / this.n[t * this.DH + j]!);
  }

  /** The mean over the units of `share(s, t)` for every s [T]. */
  reads(t: number): Float64Array {
    return Float64Array.from({ length: this.steps }, (_, s) => mean(this.share(s, t)));
  }

  /** The mean over the units of `share(s, t)` for every t [T]: how long what step s wrote is heard. */
  readsOf(s: number): Float64Array {
    return Float64Array.from({ length: this.steps }, (_, t) => mean(this.share(s, t)));
  }

  /** What step s wrote as it counts in h of step t [DH]; over all s, with `readBefore(t)`, they sum to h_t. */
  contribution(s: number, t: number): Float64Array {
    return this.share(s, t).map((share, j) => share * this.o[t * this.DH + j]! * this.z[s * this.DH + j]!);
  }

  /** What the cell before the first step still gives to h of step t [DH]. */
  readBefore(t: number): Float64Array {
    return Float64Array.from({ length: this.DH }, (_, j) => {
      const at = t * this.DH + j;
      const c = this.#before?.[0][j] ?? 0;
      return c === 0 ? 0 : (this.o[at]! * this.gates.weightBefore(t, j) * c) / this.n[at]!;
    });
  }
}

/** g~ = W x + R h' + b of one gate [T,DH]. */
function preActivations({ gates, recurrent, bias, h, before }: SlstmHeadData, gate: number, DH: number): Float64Array {
  return gates[gate]!.map((input, at) => {
    const j = at % DH;
    const row = (gate * DH + j) * DH;
    let sum = input + bias[gate * DH + j]!;
    for (let unit = 0; unit < DH; unit++) {
      const last = at < DH ? (before?.[3][unit] ?? 0) : h[at - j - DH + unit]!;
      sum += recurrent[row + unit]! * last;
    }
    return sum;
  });
}

const mean = (x: Float64Array): number => x.reduce((sum, value) => sum + value, 0) / x.length;

/**
 * @file A long convolution with a state: its last K-1 inputs, for filters that have no recurrence. A step costs as much as
 * a sequence of K steps; whole sequences cost what they cost without a state.
 */
import { activate, add, mul, subtract } from '../ops/elementwise.js';
import { linear } from '../ops/linear.js';
import { longConv } from '../ops/long-conv.js';
import { scan } from '../ops/scan.js';
import { joinTime, sliceTime } from '../ops/time.js';
import { Tensor } from '../tensor/tensor.js';
import type { SsmContext } from './state-space.js';
import { repeatChannels } from './state-space.js';

/**
 * y[t] = skip x[t] + sum_j kernel[j] x[t-j], over the history too, and the inputs after the last step.
 * @param x       [B,T,D]
 * @param kernel  [K,D]
 * @param skip    [D]
 * @param context state [B,K-1,D], oldest first
 * @returns       y [B,T,D], and the next state where one was given or is wanted (else null)
 */
export function historyConv(
  x: Tensor,
  kernel: Tensor,
  skip: Tensor,
  { state, wantState, reset }: SsmContext,
): [Tensor, Tensor | null] {
  if (state === null && !wantState) return [longConv(x, kernel, { skip, reset }), null];
  const [B, T, D] = x.shape as [number, number, number];
  const S = kernel.extent(0) - 1;
  const history = state ?? Tensor.full(x.device, [B, S, D], 0);
  const seen = reset === null ? null : documentMasks(reset, B, T);
  const kept = seen === null ? history : mul(history, spread(seen.history, S, D));
  const recent = seen === null ? x : mul(x, spread(seen.last, 1, D));
  const next = sliceTime(joinTime(kept, recent), T, T + S);
  if (state === null) return [longConv(x, kernel, { skip, reset }), next];
  // What the history gives to each step; steps behind a reset get nothing.
  if (seen === null) return [sliceTime(longConv(joinTime(history, x), kernel, { skip }), S, S + T), next];
  const nothing = Tensor.full(x.device, [B, T, D], 0);
  const echo = sliceTime(longConv(joinTime(history, nothing), kernel), S, S + T);
  return [add(longConv(x, kernel, { skip, reset }), mul(echo, spread(seen.first, 1, D))), next];
}

/** [B,T] to [B,T*steps,D], each number `steps` times in every channel. */
const spread = (mask: Tensor, steps: number, D: number): Tensor => {
  const [B, T] = mask.shape as [number, number];
  return repeatChannels(mask.reshape([B, T, 1]), steps * D).reshape([B, T * steps, D]);
};

/**
 * Zeros and ones, exact: which steps lie before the first reset [B,T], which in the last document [B,T], and whether the
 * history does too [B,1].
 */
function documentMasks(reset: Tensor, B: number, T: number): { first: Tensor; last: Tensor; history: Tensor } {
  const { device } = reset;
  const ones = Tensor.full(device, [B, T, 1], 1);
  const zeros = Tensor.full(device, [B, T, 1], 0);
  const [first, history] = scan(ones, zeros, { state: Tensor.full(device, [B, 1], 1), reset });
  // Steps of the last document, n, and for each step t - (T - n) + 1: 1 at its first step.
  const [, count] = scan(ones, ones, { reset });
  const fromBegin = (offset: number): Tensor => {
    const bias = Float64Array.from({ length: T }, (_, t) => t - T + 1 + offset);
    return activate(linear(count, Tensor.full(device, [T, 1], 1), Tensor.from(device, bias, [T])), 'relu');
  };
  const last = subtract(fromBegin(0), fromBegin(-1));
  return { first: first.reshape([B, T]), last, history };
}

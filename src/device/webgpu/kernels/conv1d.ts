/** @file The causal depthwise convolution of the WebGPU device, with its state and with documents that begin anywhere. */
import type { Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { activations } from '../math.js';
import { map, mapGroups } from '../program.js';
import { columnSum } from './sums.js';

/**
 * `input_at` is the input at time s >= -(K-1) of a sequence, and `before_reset` whether one lies behind s up to t, so
 * that step t does not see s.
 */
const INPUT = `
fn input_at(b: u32, s: i32, d: u32) -> f32 {
  if (s >= 0) { return x_at((b * p.T + u32(s)) * p.D + d); }
  return stateIn_at((b * (p.K - 1u) + u32(s + i32(p.K) - 1)) * p.D + d);
}
`;
const RESET = `
fn before_reset(b: u32, s: i32, t: i32) -> bool {
  for (var r = max(s + 1, 0); r <= t; r++) { if (reset_at(b * p.T + u32(r)) != 0u) { return true; } }
  return false;
}
`;
/** What goes into the activation at (b,t,d). */
const PRE_ACTIVATION = `${INPUT}
fn pre_activation(b: u32, t: u32, d: u32) -> f32 {
  var sum = bias_at(d);
  for (var back = 0u; back < p.K; back++) {
    let s = i32(t) - i32(back);
    sum += weight_at(d * p.K + p.K - 1u - back) * input_at(b, s, d);
    if (s >= 0 && reset_at(b * p.T + u32(max(s, 0))) != 0u) { break; }
  }
  return sum;
}
`;

const FORWARD = map(
  'conv1dForward',
  'y',
  'x weight bias stateIn reset:u8',
  'T D K',
  'y_set(n, activate(pre_activation(n / (p.T * p.D), (n / p.D) % p.T, n % p.D)));',
  (constants) => activations(constants) + PRE_ACTIVATION,
);
/** An invocation per channel: it reads ahead of where it writes, so that the state may stay in its place. */
const STATE = map(
  'conv1dForward stateOut',
  'stateOut',
  'x stateIn reset:u8',
  'T D K',
  `let b = n / p.D;
  let d = n % p.D;
  for (var j = 0u; j + 1u < p.K; j++) {
    let s = i32(p.T) - i32(p.K) + 1 + i32(j);
    let isSeen = !before_reset(b, s, i32(p.T) - 1);
    var value = 0.0;
    if (isSeen) { value = input_at(b, s, d); }
    stateOut_set((b * (p.K - 1u) + j) * p.D + d, value);
  }`,
  `${INPUT}${RESET}`,
);

/** Gradient of what goes into the activation. */
const PRE_BACKWARD = map(
  'conv1dBackward sums',
  'dsum',
  'dy x weight bias stateIn reset:u8',
  'T D K',
  'dsum_set(n, dy_at(n) * activate_slope(pre_activation(n / (p.T * p.D), (n / p.D) % p.T, n % p.D)));',
  (constants) => activations(constants) + PRE_ACTIVATION,
);
/** What the input at time s gets: of steps s to s+K-1 that see it, and of the last state. */
const INPUT_GRADIENT = `${RESET}
fn input_gradient(b: u32, s: i32, d: u32) -> f32 {
  var sum = 0.0;
  var isSeen = true;
  for (var ahead = 0u; ahead < p.K; ahead++) {
    let t = s + i32(ahead);
    if (t < 0) { continue; }
    if (t >= i32(p.T)) { break; }
    if (t > s && reset_at(b * p.T + u32(t)) != 0u) { isSeen = false; break; }
    sum += dsum_at((b * p.T + u32(t)) * p.D + d) * weight_at(d * p.K + p.K - 1u - ahead);
  }
  let j = s - i32(p.T) + i32(p.K) - 1;
  if (has_dstateOut && isSeen && j >= 0 && !before_reset(b, s, i32(p.T) - 1)) {
    sum += dstateOut_at((b * (p.K - 1u) + u32(j)) * p.D + d);
  }
  return sum;
}
`;
const INPUT_BACKWARD = map(
  'conv1dBackward dx',
  'dx',
  'dsum weight dstateOut reset:u8',
  'T D K',
  'dx_add(n, input_gradient(n / (p.T * p.D), i32((n / p.D) % p.T), n % p.D));',
  INPUT_GRADIENT,
);
const STATE_BACKWARD = map(
  'conv1dBackward dstateIn',
  'dstateIn',
  'dsum weight dstateOut reset:u8',
  'T D K',
  `let steps = p.K - 1u;
  dstateIn_add(n, input_gradient(n / (steps * p.D), i32((n / p.D) % steps) - i32(steps), n % p.D));`,
  INPUT_GRADIENT,
);
/** Columns are weight [D,K], rows the steps [B,T]. */
const WEIGHT = columnSum(
  'conv1dBackward dweight',
  'dsum x stateIn reset:u8',
  'T D K',
  'weight_part(row / p.T, row % p.T, column / p.K, column % p.K)',
  `${INPUT}${RESET}
fn weight_part(b: u32, t: u32, d: u32, j: u32) -> f32 {
  let s = i32(t + j) - i32(p.K) + 1;
  if (before_reset(b, s, i32(t))) { return 0.0; }
  return dsum_at((b * p.T + t) * p.D + d) * input_at(b, s, d);
}
`,
);
const BIAS = columnSum('conv1dBackward dbias', 'dsum', '', 'dsum_at(e)');

export const conv1d = (gpu: Gpu) =>
  ({
    conv1dForward(y, stateOut, x, weight, bias, stateIn, reset, B, T, D, K, activation) {
      const N = B * T * D;
      gpu.run(FORWARD, { y, x, weight, bias, stateIn, reset }, { N, T, D, K }, mapGroups(N), {
        ACTIVATION: activation,
      });
      if (stateOut !== null && K > 1) {
        gpu.run(STATE, { stateOut, x, stateIn, reset }, { N: B * D, T, D, K }, mapGroups(B * D));
      }
    },
    conv1dBackward(
      dx,
      dweight,
      dbias,
      dstateIn,
      dy,
      dstateOut,
      x,
      weight,
      bias,
      stateIn,
      reset,
      B,
      T,
      D,
      K,
      activation,
    ) {
      const N = B * T * D;
      const sizes = { T, D, K };
      gpu.withScratch([N], (dsum) => {
        const read = { dy, x, weight, bias, stateIn, reset };
        gpu.run(PRE_BACKWARD, { dsum: dsum, ...read }, { N, ...sizes }, mapGroups(N), { ACTIVATION: activation });
        const through = { dsum: dsum, weight, dstateOut, reset };
        gpu.run(INPUT_BACKWARD, { dx, ...through }, { N, ...sizes }, mapGroups(N));
        if (dstateIn !== null) {
          const states = B * (K - 1) * D;
          gpu.run(STATE_BACKWARD, { dstateIn, ...through }, { N: states, ...sizes }, mapGroups(states));
        }
        WEIGHT(gpu, dweight, { dsum: dsum, x, stateIn, reset }, sizes, B * T, D * K);
        BIAS(gpu, dbias, { dsum: dsum }, {}, B * T, D);
      });
    },
  }) satisfies Partial<Kernels>;

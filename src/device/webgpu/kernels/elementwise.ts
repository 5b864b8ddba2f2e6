/** @file Elementwise kernels of the WebGPU device: memory, activations, gates, dropout, AdamW. Sums are in `sums.ts`. */
import type { DeviceBuffer, Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { activations, MATH } from '../math.js';
import { map, mapGroups } from '../program.js';
import { columnSum } from './sums.js';

const FILL = map('fill', 'y', '', 'value:f32', 'y_set(n, p.value);');
const COPY = map('copy', 'y', 'x', '', 'y_set(n, x_at(n));');
const ACCUMULATE = map('accumulate', 'y', 'x', 'alpha:f32', 'y_add(n, p.alpha * x_at(n));');
const ADD = map('add', 'y', 'a b', '', 'y_set(n, a_at(n) + b_at(n));');
const MUL = map('mulForward', 'y', 'a b', '', 'y_set(n, a_at(n) * b_at(n));');
const MUL_BACKWARD = map(
  'mulBackward',
  'da db',
  'dy a b',
  '',
  `// y = a * b; both factors are read first, for da or db may be one of them
  let to_a = dy_at(n) * b_at(n);
  let to_b = dy_at(n) * a_at(n);
  da_add(n, to_a);
  db_add(n, to_b);`,
);
const ACTIVATION = map('activationForward', 'y', 'x', '', 'y_set(n, activate(x_at(n)));', activations);
const ACTIVATION_BACKWARD = map(
  'activationBackward',
  'dx',
  'dy x',
  '',
  'dx_add(n, dy_at(n) * activate_slope(x_at(n)));',
  activations,
);
const GATED = map(
  'gatedActivationForward',
  'y',
  'gate up',
  '',
  'y_set(n, activate(gate_at(n)) * up_at(n));',
  activations,
);
const GATED_BACKWARD = map(
  'gatedActivationBackward',
  'dgate dup',
  'dy gate up',
  '',
  `// y = activation(gate) * up
  dgate_add(n, dy_at(n) * up_at(n) * activate_slope(gate_at(n)));
  dup_add(n, dy_at(n) * activate(gate_at(n)));`,
  activations,
);
const SKIP_GATE = map(
  'skipGateForward',
  'y',
  'h c skip z',
  'D',
  'y_set(n, (h_at(n) + skip_at(n % p.D) * c_at(n)) * z_at(n) * xl_sigmoid(z_at(n)));',
  MATH,
);
const SKIP_GATE_BACKWARD = map(
  'skipGateBackward',
  'dh dc dz',
  'dy h c skip z',
  'D',
  `// y = (h + skip * c) * silu(z)
  let z = z_at(n);
  let gate = xl_sigmoid(z);
  let sum = h_at(n) + skip_at(n % p.D) * c_at(n);
  let dsum = dy_at(n) * z * gate;
  dh_add(n, dsum);
  dc_add(n, dsum * skip_at(n % p.D));
  dz_add(n, dy_at(n) * sum * (gate + z * gate * xl_sigmoid(-z)));`,
  MATH,
);
const SKIP_SUM = columnSum(
  'skipGateBackward dskip',
  'dy c z',
  '',
  'dy_at(e) * z_at(e) * xl_sigmoid(z_at(e)) * c_at(e)',
  MATH,
);
const SOFT_CAP = map('softCapForward', 'y', 'x', 'cap:f32', 'y_set(n, p.cap * xl_tanh(x_at(n) / p.cap));', MATH);
const SOFT_CAP_BACKWARD = map(
  'softCapBackward',
  'dx',
  'dy y',
  'cap:f32',
  'dx_add(n, dy_at(n) * ((p.cap - y_at(n)) / p.cap) * ((p.cap + y_at(n)) / p.cap));',
);
const SUM_BACKWARD = map('sumBackward', 'dx', 'dy', 'scale:f32', 'dx_add(n, p.scale * dy_at(0u));');

/** Word n of the stream of Philox4x32-10, as `philox.ts` defines it. */
const PHILOX = `
fn high_of(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let m1 = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let m2 = (a & 0xffffu) * (b >> 16u) + (m1 & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (m1 >> 16u) + (m2 >> 16u);
}
fn philox_word(n: u32) -> u32 {
  var c = vec4<u32>(n >> 2u, 0u, 0u, 0u);
  var key = vec2<u32>(p.key0, p.key1);
  for (var round = 0; round < 10; round++) {
    c = vec4<u32>(high_of(0xcd9e8d57u, c.z) ^ c.y ^ key.x, 0xcd9e8d57u * c.z,
      high_of(0xd2511f53u, c.x) ^ c.w ^ key.y, 0xd2511f53u * c.x);
    key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c[n & 3u];
}
`;
const DROPOUT = map(
  'dropoutForward',
  'y',
  'x',
  'threshold key0 key1 factor:f32',
  'y_set(n, select(0.0, x_at(n) * p.factor, philox_word(n) >= p.threshold));',
  PHILOX,
);
const DROPOUT_BACKWARD = map(
  'dropoutBackward',
  'dx',
  'dy',
  'threshold key0 key1 factor:f32',
  'if (philox_word(n) >= p.threshold) { dx_add(n, dy_at(n) * p.factor); }',
  PHILOX,
);
const FINITE = `
fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }
`;
/** `guard` is absent, and reads as zeros, where the host has decided. */
const ADAMW = map(
  'adamw',
  'parameter m v',
  'gradient guard',
  'gradScale:f32 clip:f32 lr:f32 beta1:f32 beta2:f32 rest1:f32 rest2:f32 eps:f32 weightDecay:f32 correction1:f32 correction2:f32',
  `let squares = guard_at(1u);
  if (!is_finite(guard_at(0u)) || !is_finite(squares)) { return; }
  let norm = sqrt(squares);
  let g = p.gradScale * select(1.0, p.clip / norm, norm > p.clip) * gradient_at(n);
  let m = p.beta1 * m_at(n) + p.rest1 * g;
  let v = p.beta2 * v_at(n) + p.rest2 * g * g;
  m_set(n, m);
  v_set(n, v);
  let update = m / p.correction1 / (sqrt(v / p.correction2) + p.eps);
  parameter_add(n, -p.lr * (update + p.weightDecay * parameter_at(n)));`,
  FINITE,
);
/** Larger than any norm; WGSL has no infinity. */
const NO_CLIP = 3e38;

/** y = value, for a stretch that another kernel leaves. */
export const fill = (gpu: Gpu, y: DeviceBuffer, value: number): void =>
  gpu.run(FILL, { y }, { N: y.length, value }, mapGroups(y.length));

/** y = x, of as many elements. */
export const copy = (gpu: Gpu, y: DeviceBuffer, x: DeviceBuffer): void =>
  gpu.run(COPY, { y, x }, { N: y.length }, mapGroups(y.length));

/** Word n is kept iff it is at least rate * 2^32, which is exact in float64. */
const dropout = (rate: number, key0: number, key1: number) => ({
  threshold: Math.min(2 ** 32 - 1, Math.ceil(rate * 2 ** 32)),
  key0,
  key1,
  factor: 1 / (1 - rate),
});

export const elementwise = (gpu: Gpu) =>
  ({
    fill: (y, value, N) => gpu.run(FILL, { y }, { N, value }, mapGroups(N)),
    copy: (y, x, N) => gpu.run(COPY, { y, x }, { N }, mapGroups(N)),
    accumulate: (y, x, alpha, N) => gpu.run(ACCUMULATE, { y, x }, { N, alpha }, mapGroups(N)),
    add: (y, a, b, N) => gpu.run(ADD, { y, a, b }, { N }, mapGroups(N)),
    mulForward: (y, a, b, N) => gpu.run(MUL, { y, a, b }, { N }, mapGroups(N)),
    mulBackward: (da, db, dy, a, b, N) => gpu.run(MUL_BACKWARD, { da, db, dy, a, b }, { N }, mapGroups(N)),
    activationForward: (y, x, N, activation) =>
      gpu.run(ACTIVATION, { y, x }, { N }, mapGroups(N), { ACTIVATION: activation }),
    activationBackward: (dx, dy, x, N, activation) =>
      gpu.run(ACTIVATION_BACKWARD, { dx, dy, x }, { N }, mapGroups(N), { ACTIVATION: activation }),
    gatedActivationForward: (y, gate, up, N, activation) =>
      gpu.run(GATED, { y, gate, up }, { N }, mapGroups(N), { ACTIVATION: activation }),
    gatedActivationBackward: (dgate, dup, dy, gate, up, N, activation) =>
      gpu.run(GATED_BACKWARD, { dgate, dup, dy, gate, up }, { N }, mapGroups(N), { ACTIVATION: activation }),
    skipGateForward: (y, h, c, skip, z, N, D) =>
      gpu.run(SKIP_GATE, { y, h, c, skip, z }, { N: N * D, D }, mapGroups(N * D)),
    skipGateBackward(dh, dc, dskip, dz, dy, h, c, skip, z, N, D) {
      gpu.run(SKIP_GATE_BACKWARD, { dh, dc, dz, dy, h, c, skip, z }, { N: N * D, D }, mapGroups(N * D));
      SKIP_SUM(gpu, dskip, { dy, c, z }, {}, N, D);
    },
    softCapForward: (y, x, N, cap) => gpu.run(SOFT_CAP, { y, x }, { N, cap }, mapGroups(N)),
    softCapBackward: (dx, dy, y, N, cap) => gpu.run(SOFT_CAP_BACKWARD, { dx, dy, y }, { N, cap }, mapGroups(N)),
    dropoutForward: (y, x, N, rate, key0, key1) =>
      gpu.run(DROPOUT, { y, x }, { N, ...dropout(rate, key0, key1) }, mapGroups(N)),
    dropoutBackward: (dx, dy, N, rate, key0, key1) =>
      gpu.run(DROPOUT_BACKWARD, { dx, dy }, { N, ...dropout(rate, key0, key1) }, mapGroups(N)),
    sumBackward: (dx, dy, N, scale) => gpu.run(SUM_BACKWARD, { dx, dy }, { N, scale }, mapGroups(N)),
    adamw(parameter, m, v, gradient, N, gradScale, lr, beta1, beta2, eps, weightDecay, correction1, correction2) {
      const { scalars: guard = null, clip = NO_CLIP } = gpu.guard ?? {};
      const rates = { gradScale, lr, beta1, beta2, rest1: 1 - beta1, rest2: 1 - beta2, eps, weightDecay };
      const sizes = { N, clip: Math.min(clip, NO_CLIP), ...rates, correction1, correction2 };
      gpu.run(ADAMW, { parameter, m, v, gradient, guard }, sizes, mapGroups(N));
    },
  }) satisfies Partial<Kernels>;

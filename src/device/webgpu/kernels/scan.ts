/** @file The diagonal recurrence h_t = a_t h_{t-1} + x_t of the WebGPU device: an invocation per channel walks over time. */
import type { Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { map, mapGroups } from '../program.js';

const FORWARD = map(
  'scanForward',
  'h stateOut',
  'a x stateIn reset:u8',
  'T D',
  `let b = n / p.D;
  var state = stateIn_at(n);
  for (var t = 0u; t < p.T; t++) {
    let at = (b * p.T + t) * p.D + n % p.D;
    if (reset_at(b * p.T + t) != 0u) { state = 0.0; }
    state = a_at(at) * state + x_at(at);
    h_set(at, state);
  }
  stateOut_set(n, state);`,
);
/** The whole gradient of every h: that of its own and what the next step hands back. */
const TOTALS = map(
  'scanBackward totals',
  'total dstateIn',
  'dh dstateOut a reset:u8',
  'T D',
  `let b = n / p.D;
  var carried = dstateOut_at(n);
  for (var back = 0u; back < p.T; back++) {
    let t = p.T - 1u - back;
    let at = (b * p.T + t) * p.D + n % p.D;
    let here = dh_at(at) + carried;
    total_set(at, here);
    carried = select(here * a_at(at), 0.0, reset_at(b * p.T + t) != 0u);
  }
  dstateIn_add(n, carried);`,
);
const BACKWARD = map(
  'scanBackward',
  'da dx',
  'total h stateIn reset:u8',
  'T D',
  `let t = (n / p.D) % p.T;
  let b = n / (p.D * p.T);
  var before = 0.0;
  if (reset_at(b * p.T + t) == 0u) {
    if (t > 0u) { before = h_at(n - p.D); } else { before = stateIn_at(b * p.D + n % p.D); }
  }
  // h = a h' + x
  dx_add(n, total_at(n));
  da_add(n, total_at(n) * before);`,
);

export const scan = (gpu: Gpu) =>
  ({
    scanForward: (h, stateOut, a, x, stateIn, reset, B, T, D) =>
      gpu.run(FORWARD, { h, stateOut, a, x, stateIn, reset }, { N: B * D, T, D }, mapGroups(B * D)),
    scanBackward(da, dx, dstateIn, dh, dstateOut, h, a, stateIn, reset, B, T, D) {
      const N = B * T * D;
      gpu.withScratch([N], (total) => {
        const read = { dh, dstateOut, a, reset };
        gpu.run(TOTALS, { total: total, dstateIn, ...read }, { N: B * D, T, D }, mapGroups(B * D));
        gpu.run(BACKWARD, { da, dx, total: total, h, stateIn, reset }, { N, T, D }, mapGroups(N));
      });
    },
  }) satisfies Partial<Kernels>;

/** @file One mLSTM step of the WebGPU device, for decoding: gates, then the normaliser, then the state by columns. */
import type { Kernels } from '../../kernels.js';
import { InputGate } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { MATH } from '../math.js';
import { map, mapGroups, program } from '../program.js';
import { groupSum } from './sums.js';

/** Per head: f, i, and what the denominator is at least. */
const GATES = map(
  'mlstm step: gates',
  'mout gates',
  'i f min',
  '',
  `if (EXPONENTIAL) {
    let forgotten = xl_logsigmoid(f_at(n)) + max(min_at(n), LOWEST);
    let m = max(forgotten, i_at(n));
    gates_set(3u * n, xl_exp(forgotten - m));
    gates_set(3u * n + 1u, xl_exp(i_at(n) - m));
    gates_set(3u * n + 2u, xl_exp(-m));
    mout_set(n, m);
  } else {
    gates_set(3u * n, xl_sigmoid(f_at(n)));
    gates_set(3u * n + 1u, xl_sigmoid(i_at(n)));
    gates_set(3u * n + 2u, 1.0);
    mout_set(n, 0.0);
  }`,
  MATH,
);
/** A workgroup per head: n, and in the place of the least denominator the denominator. */
const NORMALIZER = program({
  name: 'mlstm step: normalizer',
  writes: 'nout gates',
  reads: 'nin q k',
  sizes: 'DK eps:f32 scale:f32',
  threads: 64,
  solo: true,
  code: (constants) => `${groupSum(constants)}
fn kernel(group: u32, lane: u32) {
  var part = 0.0;
  for (var d = lane; d < p.DK; d += THREADS) {
    let at = group * p.DK + d;
    let value = gates_at(3u * group) * nin_at(at) + gates_at(3u * group + 1u) * k_at(at);
    nout_set(at, value);
    part += q_at(at) * p.scale * value;
  }
  let qn = group_sum(lane, part);
  if (lane == 0u && NORMALIZE) { gates_set(3u * group + 2u, max(abs(qn), gates_at(3u * group + 2u)) + p.eps); }
}`,
});
/** A workgroup per head and 64 columns. */
const STATE = program({
  name: 'mlstm step: state',
  writes: 'h Cout',
  reads: 'gates Cin q k v',
  sizes: 'DK DV tiles scale:f32',
  threads: 64,
  code: `
fn kernel(group: u32, lane: u32) {
  let head = group / p.tiles;
  let e = (group % p.tiles) * THREADS + lane;
  if (e >= p.DV) { return; }
  let f = gates_at(3u * head);
  let value = gates_at(3u * head + 1u) * v_at(head * p.DV + e);
  var sum = 0.0;
  for (var d = 0u; d < p.DK; d++) {
    let at = (head * p.DK + d) * p.DV + e;
    let c = f * Cin_at(at) + k_at(head * p.DK + d) * value;
    Cout_set(at, c);
    sum += q_at(head * p.DK + d) * p.scale * c;
  }
  h_set(head * p.DV + e, select(sum, sum / gates_at(3u * head + 2u), NORMALIZE));
}`,
});

export const mlstmStep = (gpu: Gpu) =>
  ({
    mlstmStep(...[h, Cout, nout, mout, q, k, v, i, f, Cin, nin, min, B, NH, DK, DV, eps, inputGate, normalize]) {
      const heads = B * NH;
      const scale = 1 / Math.sqrt(DK);
      const tiles = Math.ceil(DV / 64);
      gpu.withScratch([3 * heads], (scratch) => {
        const gates = scratch;
        const constants = { EXPONENTIAL: inputGate === InputGate.exponential };
        gpu.run(GATES, { mout, gates, i, f, min }, { N: heads }, mapGroups(heads), constants);
        gpu.run(NORMALIZER, { nout, gates, nin, q, k }, { DK, eps, scale }, heads, { NORMALIZE: normalize });
        const sizes = { DK, DV, tiles, scale };
        gpu.run(STATE, { h, Cout, gates, Cin, q, k, v }, sizes, heads * tiles, { NORMALIZE: normalize });
      });
    },
  }) satisfies Partial<Kernels>;

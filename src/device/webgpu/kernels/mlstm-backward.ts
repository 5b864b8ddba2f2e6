/**
 * @file The backward pass of the mLSTM of the WebGPU device, chunkwise. As in `mlstm-chunks.ts` the normaliser is one more
 * column: where h = numerator / denominator, `dnum` [B,T,NH,DW] holds the gradients of the numerator and of q . n.
 *
 * With A[t,s] = w[t,s] (dnum_t . v_s) within a chunk, C the state before it and dC the gradient of the state behind it:
 *   dq_t = sum_s A[t,s] k_s + (what is left of C after t) dnum_t,   dk_s = sum_t A[t,s] q_t + (weight of s at the end) dC v_s.
 * A gradient of log i_s is the sum of A[t,s] q_t . k_s over t >= s, that of log f_t over all pairs around t: s < t <= t'.
 * All that lies between the kernels is in one workspace, which is one binding.
 */
import type { DeviceBuffer, Kernels } from '../../kernels.js';
import { InputGate } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { MATH } from '../math.js';
import { mapGroups, program } from '../program.js';
import {
  addProducts,
  addWeighed,
  beginStates,
  CHUNKS,
  columnOf,
  each,
  endStates,
  GATE_PLANES,
  knownGates,
  ofColumns,
  ofRows,
  rowOf,
  runStates,
  SIZES,
  sizesOf,
  statesLength,
  weigh,
  WEIGHTS,
} from './mlstm-chunks.js';
import { runQueryNormalizer } from './mlstm-forward.js';
import { GATE_GRADIENTS, LAST } from './mlstm-gate-gradients.js';
import { TILES, VALUES } from './mlstm-tiles.js';
import { groupSum } from './sums.js';

/** A workgroup per row: dnum, and what reaches m through the denominator. */
const ROWS = program({
  name: 'mlstmBackward rows',
  writes: 'dnum dm',
  reads: 'dh h qn m denominator',
  sizes: 'DV DW eps:f32',
  threads: 64,
  solo: true,
  code: (constants) => `${MATH}${groupSum(constants)}
fn kernel(group: u32, lane: u32) {
  let below = denominator_at(group);
  var part = 0.0;
  for (var e = lane; e < p.DV; e += THREADS) {
    let dh = dh_at(group * p.DV + e);
    part += dh * h_at(group * p.DV + e);
    dnum_set(group * p.DW + e, dh / below);
  }
  let dhh = group_sum(lane, part);
  if (lane != 0u) { return; }
  var dqn = 0.0;
  var dm = 0.0;
  if (NORMALIZE) {
    // denominator = max(|q . n|, exp(-m)) + eps; a tie goes to q . n. The last line is so written that an infinite exp(-m)
    // makes no NaN.
    let qn = qn_at(group);
    if (abs(qn) >= xl_exp(-m_at(group))) { dqn = -dhh / below * sign(qn); }
    else { dm = dhh / (1.0 + p.eps * xl_exp(m_at(group))); }
  }
  dnum_set(group * p.DW + p.DV, dqn);
  dm_set(group, dm);
}`,
});

/** As the states, from the last chunk to the first. */
const STATE_GRADIENTS = program({
  name: 'mlstmBackward states',
  writes: 'dstates',
  reads: 'gates q dnum',
  sizes: `${SIZES} rows tilesK tilesW scale:f32`,
  threads: 64,
  code: `${CHUNKS}
var<workgroup> q_tile: array<f32, 1024>; // [step, 32 of DK], times what is left of the state
var<workgroup> d_tile: array<f32, 1024>; // [step, 32 of DW]
fn kernel(group: u32, lane: u32) {
  let tile = group % (p.tilesK * p.tilesW);
  let item = group / (p.tilesK * p.tilesW);
  let b = item / p.NH;
  let head = item % p.NH;
  let first_d = (tile / p.tilesW) * 32u;
  let first_e = (tile % p.tilesW) * 32u;
  let e = first_e + lane % 32u;
  let size = p.DK * p.DW;
  let at = item * (p.NC + 1u) * size;
  ${each(
    (n) => `
  let place${n} = (first_d + ${rowOf(n)}) * p.DW + first_e + ${columnOf(n)};
  let isThere${n} = first_d + ${rowOf(n)} < p.DK && first_e + ${columnOf(n)} < p.DW;
  var state${n} = 0.0;
  if (isThere${n}) { state${n} = dstates_at(at + p.NC * size + place${n}); }`,
  )}
  for (var back = 0u; back < p.NC; back++) {
    let chunk = p.NC - 1u - back;
    load_factors(b, head, chunk, lane);
    for (var j = 0u; j < 16u; j++) {
      let t = lane / 32u + 2u * j;
      let d = first_d + lane % 32u;
      var query = 0.0;
      var dvalue = 0.0;
      if (is_step(chunk, t)) {
        let row = row_of(b, head, chunk, t);
        if (d < p.DK) { query = q_at(row * p.DK + d) * p.scale; }
        if (e < p.DW) { dvalue = dnum_at(row * p.DW + e); }
      }
      q_tile[32u * t + lane % 32u] = weighed(left_of[t], query);
      d_tile[32u * t + lane % 32u] = select(dvalue, 0.0, left_of[t] == 0.0);
    }
    workgroupBarrier();
    ${each((n) => `state${n} = weighed(left_of[31], state${n});`)}
    for (var t = 0u; t < CHUNK; t++) {
      ${ofRows('query', (row) => `q_tile[32u * t + ${row}]`)}
      ${ofColumns('dvalue', (column) => `d_tile[32u * t + ${column}]`)}
      ${addProducts('state', 'query', 'dvalue')}
    }
    ${each((n) => `if (isThere${n}) { dstates_set(at + chunk * size + place${n}, state${n}); }`)}
    workgroupBarrier();
  }
}`,
});

/** A workgroup per sequence, head, chunk and 32 columns of dq and dk; `inter` [2,B,T,NH,DK] gets what states gave. */
const QUERIES_KEYS = program({
  name: 'mlstmBackward dq dk',
  writes: 'dq dk inter',
  reads: 'gates states dstates dnum q k v',
  sizes: `${SIZES} rows tilesK scale:f32`,
  threads: 64,
  code: `${CHUNKS}${WEIGHTS}${TILES}${VALUES}
var<workgroup> steps: array<f32, 1088>; // dnum, then v; behind the loop q [step, 32 of DK]
var<workgroup> states_tile: array<f32, 1088>; // C, then dC; behind the loop k
fn kernel(group: u32, lane: u32) {
  let tile = group % p.tilesK;
  let chunk = (group / p.tilesK) % p.NC;
  let item = group / (p.tilesK * p.NC);
  let b = item / p.NH;
  let head = item % p.NH;
  let before = (item * (p.NC + 1u) + chunk) * p.DK * p.DW;
  let behind = before + p.DK * p.DW;
  load_factors(b, head, chunk, lane);
  make_weights(lane);
  // Of each: dnum_t . v_s, C dnum_t, dC v_s
  ${each((j) => `var pair${j} = 0.0; var from_c${j} = 0.0; var from_dc${j} = 0.0;`)}
  for (var first = 0u; first < p.DW; first += 16u) {
    workgroupBarrier();
    for (var part = 0u; part < 8u; part++) {
      let r = (lane + 64u * part) / 16u;
      let e = first + lane % 16u;
      let at = 17u * r + lane % 16u;
      steps[at] = dnum_of(b, head, chunk, r, e);
      steps[544u + at] = value_at(b, head, chunk, r, e);
      let d = tile * 32u + r;
      var value = 0.0;
      var gradient = 0.0;
      if (d < p.DK && e < p.DW) {
        value = states_at(before + d * p.DW + e);
        gradient = dstates_at(behind + d * p.DW + e);
      }
      states_tile[at] = value;
      states_tile[544u + at] = gradient;
    }
    workgroupBarrier();
    for (var e = 0u; e < 16u; e++) {
      ${ofRows('dvalue', (row) => `steps[17u * ${row} + e]`)}
      ${ofRows('value_of', (row) => `steps[544u + 17u * ${row} + e]`)}
      ${ofColumns('value', (column) => `steps[544u + 17u * ${column} + e]`)}
      ${ofColumns('c', (column) => `states_tile[17u * ${column} + e]`)}
      ${ofColumns('dc', (column) => `states_tile[544u + 17u * ${column} + e]`)}
      ${addProducts('pair', 'dvalue', 'value')}
      ${addProducts('from_c', 'dvalue', 'c')}
      ${addProducts('from_dc', 'value_of', 'dc')}
    }
  }
  workgroupBarrier();
  let d = tile * 32u + lane % 32u;
  ${each((n) => weigh(n, `pair${n}`))}
  for (var j = 0u; j < 16u; j++) {
    let t = lane / 32u + 2u * j;
    steps[33u * t + lane % 32u] = query_at(b, head, chunk, t, d);
    states_tile[33u * t + lane % 32u] = key_at(b, head, chunk, t, d);
  }
  workgroupBarrier();
  ${each((n) => `var sum_q${n} = 0.0; var sum_k${n} = 0.0;`)}
  for (var s = 0u; s < CHUNK; s++) {
    ${ofRows('to_row', (row) => `weights[33u * ${row} + s]`)}
    ${ofRows('of_row', (row) => `weights[33u * s + ${row}]`)}
    ${ofColumns('key', (column) => `states_tile[33u * s + ${column}]`)}
    ${ofColumns('query', (column) => `steps[33u * s + ${column}]`)}
    ${addWeighed('sum_q', 'to_row', 'key')}
    ${addWeighed('sum_k', 'of_row', 'query')}
  }
  ${each((n) => `put(b, head, chunk, ${rowOf(n)}, tile * 32u + ${columnOf(n)}, from_c${n}, from_dc${n}, sum_q${n}, sum_k${n});`)}
}
fn put(b: u32, head: u32, chunk: u32, t: u32, d: u32, from_c: f32, from_dc: f32, sum_q: f32, sum_k: f32) {
  if (!is_step(chunk, t) || d >= p.DK) { return; }
  let at = row_of(b, head, chunk, t) * p.DK + d;
  let inter_q = weighed(left_of[t], from_c);
  let inter_k = weighed(end_of[t], from_dc);
  inter_set(at, inter_q);
  inter_set(p.rows * p.DK + at, inter_k);
  dq_add(at, (sum_q + inter_q) * p.scale);
  dk_add(at, sum_k + inter_k);
}`,
});

/** A workgroup per sequence, head, chunk and 32 columns of dv. */
const VALUE_GRADIENTS = program({
  name: 'mlstmBackward dv',
  writes: 'dv',
  reads: 'gates dstates dnum q k',
  sizes: `${SIZES} rows tilesV scale:f32`,
  threads: 64,
  code: `${CHUNKS}${WEIGHTS}${TILES}
var<workgroup> steps: array<f32, 1088>; // q, then k; behind the loop dnum [step, 32 of DV]
var<workgroup> dc_tile: array<f32, 528>; // [16 of DK, 32 of DV]
fn kernel(group: u32, lane: u32) {
  let tile = group % p.tilesV;
  let chunk = (group / p.tilesV) % p.NC;
  let item = group / (p.tilesV * p.NC);
  let b = item / p.NH;
  let head = item % p.NH;
  let column = lane % 32u;
  let e = tile * 32u + column;
  let behind = (item * (p.NC + 1u) + chunk + 1u) * p.DK * p.DW;
  load_factors(b, head, chunk, lane);
  make_weights(lane);
  // Of each: q_t . k_s, k_s^T dC
  ${each((j) => `var pair${j} = 0.0; var from_dc${j} = 0.0;`)}
  for (var first = 0u; first < p.DK; first += 16u) {
    workgroupBarrier();
    for (var part = 0u; part < 8u; part++) {
      let r = (lane + 64u * part) / 16u;
      let at = 17u * r + lane % 16u;
      steps[at] = query_at(b, head, chunk, r, first + lane % 16u);
      steps[544u + at] = key_at(b, head, chunk, r, first + lane % 16u);
      let row = lane / 32u + 2u * part;
      var gradient = 0.0;
      if (first + row < p.DK && e < p.DV) { gradient = dstates_at(behind + (first + row) * p.DW + e); }
      dc_tile[33u * row + column] = gradient;
    }
    workgroupBarrier();
    for (var d = 0u; d < 16u; d++) {
      ${ofRows('query', (row) => `steps[17u * ${row} + d]`)}
      ${ofRows('key_of', (row) => `steps[544u + 17u * ${row} + d]`)}
      ${ofColumns('key', (column) => `steps[544u + 17u * ${column} + d]`)}
      ${ofColumns('dc', (column) => `dc_tile[33u * d + ${column}]`)}
      ${addProducts('pair', 'query', 'key')}
      ${addProducts('from_dc', 'key_of', 'dc')}
    }
  }
  workgroupBarrier();
  ${each((n) => weigh(n, `pair${n}`))}
  for (var j = 0u; j < 16u; j++) {
    let t = lane / 32u + 2u * j;
    steps[33u * t + lane % 32u] = dnum_of(b, head, chunk, t, min(e, p.DV));
  }
  workgroupBarrier();
  ${each((n) => `var sum${n} = weighed(end_of[${rowOf(n)}], from_dc${n});`)}
  for (var t = 0u; t < CHUNK; t++) {
    ${ofRows('of_row', (row) => `weights[33u * t + ${row}]`)}
    ${ofColumns('dvalue', (column) => `steps[33u * t + ${column}]`)}
    ${addWeighed('sum', 'of_row', 'dvalue')}
  }
  ${each((n) => `put(b, head, chunk, ${rowOf(n)}, tile * 32u + ${columnOf(n)}, sum${n});`)}
}
fn put(b: u32, head: u32, chunk: u32, s: u32, e: u32, sum: f32) {
  if (is_step(chunk, s) && e < p.DV) { dv_add(row_of(b, head, chunk, s) * p.DV + e, sum); }
}`,
});

/** The workspace cut into its parts, in the order of their lengths. */
function cut(gpu: Gpu, workspace: DeviceBuffer, lengths: readonly number[]): DeviceBuffer[] {
  let offset = 0;
  return lengths.map((length) => {
    offset += length;
    return gpu.view(workspace, offset - length, length);
  });
}

export const mlstmBackward = (gpu: Gpu) =>
  ({
    mlstmBackward(
      ...[
        dq,
        dk,
        dv,
        di,
        df,
        dCin,
        dnin,
        dmin,
        dh,
        dCout,
        dnout,
        dmout,
        q,
        k,
        v,
        i,
        f,
        Cin,
        nin,
        min,
        reset,
        h,
        m,
        denominator,
        ...rest
      ]
    ) {
      const [B, T, NH, DK, DV, , eps, inputGate, normalize] = rest;
      const sizes = sizesOf(B, T, NH, DK, DV);
      const { DW, NC } = sizes;
      const [rows, border] = [B * T * NH, statesLength(sizes)];
      const lengths = [GATE_PLANES * rows, border, border, rows, rows * DW, rows, 2 * rows * DK, 2 * rows];
      const total = lengths.reduce((sum, length) => sum + length, 0);
      gpu.withScratch([total], (workspace) => {
        const [gates, states, dstates, qn, dnum, dm, inter, dlog] = cut(gpu, workspace, lengths) as Buffers<8>;
        const own = { T, NH, DK, DV, DW, NC, rows, scale: 1 / Math.sqrt(DK) };
        const tiles = { tilesK: Math.ceil(DK / 32), tilesW: Math.ceil(DW / 32), tilesV: Math.ceil(DV / 32) };
        const chunks = B * NH * NC;
        const exponential = { EXPONENTIAL: inputGate === InputGate.exponential };

        knownGates(gpu, { gates, m, i, f, min, reset }, sizes, inputGate);
        beginStates(gpu, states, Cin, nin, sizes, 0);
        runStates(gpu, states, gates, k, v, sizes);
        if (normalize) runQueryNormalizer(gpu, qn, { m, gates, states, q, k, v }, sizes);
        gpu.run(ROWS, { dnum, dm, dh, h, qn, m, denominator }, { DV, DW, eps }, rows, { NORMALIZE: normalize });
        beginStates(gpu, dstates, dCout, dnout, sizes, NC);
        const stateTiles = B * NH * tiles.tilesK * tiles.tilesW;
        gpu.run(STATE_GRADIENTS, { dstates, gates, q, dnum }, { ...own, ...tiles }, stateTiles);
        const read = { gates, states, dstates, dnum, q, k, v };
        gpu.run(QUERIES_KEYS, { dq, dk, inter, ...read }, { ...own, ...tiles }, chunks * tiles.tilesK);
        gpu.run(VALUE_GRADIENTS, { dv, gates, dstates, dnum, q, k }, { ...own, ...tiles }, chunks * tiles.tilesV);
        gpu.run(GATE_GRADIENTS, { dlog, inter, ...read }, own, chunks);
        const last = { di, df, dmin, gates, dlog, dm, dmout };
        gpu.run(LAST, last, { N: B * NH, T, NH, rows }, mapGroups(B * NH), exponential);
        endStates(gpu, dCin, dnin, dstates, sizes, 0, true);
      });
    },
  }) satisfies Partial<Kernels>;

type Buffers<N extends number, All extends DeviceBuffer[] = []> = All['length'] extends N
  ? All
  : Buffers<N, [DeviceBuffer, ...All]>;

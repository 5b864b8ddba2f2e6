/** @file The mLSTM of the WebGPU device over a whole sequence, chunkwise; see `mlstm-chunks.ts` for how it is taken apart. */
import type { DeviceBuffer, Kernels } from '../../kernels.js';
import { InputGate } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { MATH } from '../math.js';
import { program } from '../program.js';
import { copy, fill } from './elementwise.js';
import {
  addProducts,
  addWeighed,
  beginStates,
  CHUNKS,
  columnOf,
  each,
  endStates,
  GATE_PLANES,
  ofColumns,
  ofRows,
  type Opt,
  rowOf,
  runStates,
  scanGates,
  SIZES,
  sizesOf,
  type Sizes,
  statesLength,
  weigh,
  WEIGHTS,
} from './mlstm-chunks.js';

/**
 * A workgroup per sequence, head, chunk and 32 columns of h. With WANTED false h is left out, and `denominator` gets
 * q . n itself, for the backward pass.
 */
const OUTPUT = program({
  name: 'mlstm output',
  writes: 'h denominator',
  reads: 'm gates states q k v',
  sizes: `${SIZES} rows tilesV eps:f32 scale:f32`,
  threads: 64,
  code: `${MATH}${CHUNKS}${WEIGHTS}
var<workgroup> q_tile: array<f32, 1056>; // [step, 32 of DK]
var<workgroup> k_tile: array<f32, 1056>; // [step, 32 of DK], then v [step, 32 of DV]
var<workgroup> c_tile: array<f32, 1056>; // [32 of DK, 32 of DV]
var<workgroup> n_tile: array<f32, 32>;
var<workgroup> qn_halves: array<f32, 64>; // q . n of each step, in two parts
fn kernel(group: u32, lane: u32) {
  let tile = group % p.tilesV;
  let chunk = (group / p.tilesV) % p.NC;
  let item = group / (p.tilesV * p.NC);
  let b = item / p.NH;
  let head = item % p.NH;
  let column = lane % 32u;
  let half = 16u * (lane / 32u);
  let e = tile * 32u + column;
  let state = (item * (p.NC + 1u) + chunk) * p.DK * p.DW;
  load_factors(b, head, chunk, lane);
  make_weights(lane);
  // Of each: q_t . k_s, q_t^T C; and of step "column" half of q_t . n
  ${each((n) => `var product${n} = 0.0; var inter${n} = 0.0;`)}
  var inter_n = 0.0;
  for (var first = 0u; first < p.DK; first += 32u) {
    workgroupBarrier();
    for (var j = 0u; j < 16u; j++) {
      let t = lane / 32u + 2u * j;
      let d = first + column;
      var query = 0.0;
      var key = 0.0;
      if (is_step(chunk, t) && d < p.DK) {
        let row = row_of(b, head, chunk, t);
        query = q_at(row * p.DK + d) * p.scale;
        key = k_at(row * p.DK + d);
      }
      q_tile[33u * t + column] = query;
      k_tile[33u * t + column] = key;
      var value = 0.0;
      if (WANTED && first + t < p.DK && e < p.DV) { value = states_at(state + (first + t) * p.DW + e); }
      c_tile[33u * t + column] = value;
    }
    if (lane < 32u) {
      var value = 0.0;
      if (first + lane < p.DK) { value = states_at(state + (first + lane) * p.DW + p.DV); }
      n_tile[lane] = value;
    }
    workgroupBarrier();
    for (var d = 0u; d < 32u; d++) {
      ${ofRows('query', (row) => `q_tile[33u * ${row} + d]`)}
      ${ofColumns('key', (column) => `k_tile[33u * ${column} + d]`)}
      ${ofColumns('c', (column) => `c_tile[33u * d + ${column}]`)}
      ${addProducts('product', 'query', 'key')}
      ${addProducts('inter', 'query', 'c')}
    }
    for (var d = half; d < half + 16u; d++) { inter_n += q_tile[33u * column + d] * n_tile[d]; }
  }
  workgroupBarrier();
  ${each((n) => weigh(n, `product${n}`))}
  for (var j = 0u; j < 16u; j++) {
    let t = lane / 32u + 2u * j;
    var value = 0.0;
    if (WANTED && is_step(chunk, t) && e < p.DV) { value = v_at(row_of(b, head, chunk, t) * p.DV + e); }
    k_tile[33u * t + column] = value;
  }
  workgroupBarrier();
  var qn_half = weighed(left_of[column], inter_n);
  for (var s = half; s < half + 16u; s++) { qn_half += weights[33u * column + s]; }
  qn_halves[lane] = qn_half;
  ${each((n) => `var sum${n} = weighed(left_of[${rowOf(n)}], inter${n});`)}
  for (var s = 0u; s < CHUNK; s++) {
    ${ofRows('weight', (row) => `weights[33u * ${row} + s]`)}
    ${ofColumns('value', (column) => `k_tile[33u * s + ${column}]`)}
    ${addWeighed('sum', 'weight', 'value')}
  }
  workgroupBarrier();
  ${ofRows('below', (row) => `put_denominator(b, head, chunk, tile, ${row}, lane)`)}
  ${each((n) => `put(b, head, chunk, ${rowOf(n)}, tile * 32u + ${columnOf(n)}, sum${n} / below${Math.floor(n / 4)});`)}
}
fn put(b: u32, head: u32, chunk: u32, t: u32, e: u32, value: f32) {
  if (WANTED && is_step(chunk, t) && e < p.DV) { h_set(row_of(b, head, chunk, t) * p.DV + e, value); }
}
// Returns the denominator of step t; one of all invocations leaves it in memory.
fn put_denominator(b: u32, head: u32, chunk: u32, tile: u32, t: u32, lane: u32) -> f32 {
  if (!is_step(chunk, t)) { return 1.0; }
  let row = row_of(b, head, chunk, t);
  let qn = qn_halves[t] + qn_halves[t + 32u];
  var below = 1.0;
  if (NORMALIZE) { below = max(abs(qn), xl_exp(-m_at(row))) + p.eps; }
  if (tile == 0u && lane % 8u == 0u) { denominator_set(row, select(qn, below, WANTED)); }
  return below;
}`,
});

interface OutputBuffers {
  readonly h: Opt;
  readonly denominator: DeviceBuffer;
  readonly m: DeviceBuffer;
  readonly gates: DeviceBuffer;
  readonly states: DeviceBuffer;
  readonly q: DeviceBuffer;
  readonly k: DeviceBuffer;
  readonly v: DeviceBuffer;
}

function runOutput(gpu: Gpu, buffers: OutputBuffers, sizes: Sizes, eps: number, normalize: boolean): void {
  const { B, T, NH, DK, DV, DW, NC } = sizes;
  const isWanted = buffers.h !== null;
  const tilesV = isWanted ? Math.ceil(DV / 32) : 1;
  const own = { T, NH, DK, DV, DW, NC, rows: B * T * NH, tilesV, eps, scale: 1 / Math.sqrt(DK) };
  const constants = { WANTED: isWanted, NORMALIZE: normalize };
  gpu.run(OUTPUT, { ...buffers }, own, B * NH * NC * tilesV, constants);
}

/** q . n of every row, from the states. */
export const runQueryNormalizer = (
  gpu: Gpu,
  qn: DeviceBuffer,
  buffers: Omit<OutputBuffers, 'h' | 'denominator'>,
  sizes: Sizes,
): void => runOutput(gpu, { h: null, denominator: qn, ...buffers }, sizes, 0, false);

/** Of no steps the state stays as it is. */
function keepState(gpu: Gpu, outputs: readonly Opt[], inputs: readonly Opt[], inputGate: InputGate): void {
  outputs.forEach((to, k) => {
    if (to === null) return;
    const from = inputs[k] ?? null;
    if (from !== null) copy(gpu, to, from);
    else fill(gpu, to, k === 2 && inputGate === InputGate.exponential ? -Infinity : 0);
  });
}

export const mlstmForward = (gpu: Gpu) =>
  ({
    mlstmForward(
      ...[
        h,
        m,
        denominator,
        Cout,
        nout,
        mout,
        q,
        k,
        v,
        i,
        f,
        Cin,
        nin,
        min,
        reset,
        B,
        T,
        NH,
        DK,
        DV,
        ,
        eps,
        inputGate,
        normalize,
      ]
    ) {
      if (T === 0) {
        keepState(gpu, [Cout, nout, mout], [Cin, nin, min], inputGate);
        return;
      }
      const sizes = sizesOf(B, T, NH, DK, DV);
      gpu.withScratch([GATE_PLANES * B * T * NH, statesLength(sizes)], (scratch, borders) => {
        const [gates, states] = [scratch, borders];
        scanGates(gpu, { gates, m, mout, i, f, min, reset }, sizes, inputGate);
        beginStates(gpu, states, Cin, nin, sizes, 0);
        runStates(gpu, states, gates, k, v, sizes);
        runOutput(gpu, { h, denominator, m, gates, states, q, k, v }, sizes, eps, normalize);
        endStates(gpu, Cout, nout, states, sizes, sizes.NC, false);
      });
    },
  }) satisfies Partial<Kernels>;

/** @file The mLSTM of the WebGPU device over a whole sequence, chunkwise; see `mlstm-chunks.ts` for how it is taken apart. */
import type { DeviceBuffer, Kernels } from '../../kernels.js';
import { InputGate } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { MATH } from '../math.js';
import { program } from '../program.js';
import { copy, fill } from './elementwise.js';
import {
  all,
  beginStates,
  CHUNKS,
  endStates,
  GATE_PLANES,
  type Opt,
  runStates,
  scanGates,
  SIZES,
  sizesOf,
  type Sizes,
  statesLength,
  each,
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
fn kernel(group: u32, lane: u32) {
  let tile = group % p.tilesV;
  let chunk = (group / p.tilesV) % p.NC;
  let item = group / (p.tilesV * p.NC);
  let b = item / p.NH;
  let head = item % p.NH;
  let column = lane % 32u;
  let e = tile * 32u + column;
  let state = (item * (p.NC + 1u) + chunk) * p.DK * p.DW;
  load_factors(b, head, chunk, lane);
  make_weights(lane);
  // Of each: q_t . k_s, q_t^T C, q_t . n
  ${each((j) => `var product${j} = 0.0; var inter${j} = 0.0; var inter_n${j} = 0.0;`)}
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
      let key = k_tile[33u * column + d];
      let state_of = c_tile[33u * d + column];
      let n_of = n_tile[d];
      ${each(
        (j) => `
      let query${j} = q_tile[33u * (lane / 32u + ${2 * j}u) + d];
      product${j} += query${j} * key;
      inter${j} += query${j} * state_of;
      inter_n${j} += query${j} * n_of;`,
      )}
    }
  }
  workgroupBarrier();
  ${each((j) => `weights[33u * (lane / 32u + ${2 * j}u) + column] *= product${j};`)}
  for (var j = 0u; j < 16u; j++) {
    let t = lane / 32u + 2u * j;
    var value = 0.0;
    if (WANTED && is_step(chunk, t) && e < p.DV) { value = v_at(row_of(b, head, chunk, t) * p.DV + e); }
    k_tile[33u * t + column] = value;
  }
  workgroupBarrier();
  ${all('inter')}
  ${all('inter_n')}
  for (var j = 0u; j < 16u; j++) { put_row(b, head, chunk, lane / 32u + 2u * j, column, e, inter_of[j], inter_n_of[j]); }
}
fn put_row(b: u32, head: u32, chunk: u32, t: u32, column: u32, e: u32, inter: f32, inter_n: f32) {
  if (!is_step(chunk, t)) { return; }
  let row = row_of(b, head, chunk, t);
  var numerator = 0.0;
  var qn = 0.0;
  for (var s = 0u; s <= t; s++) {
    let weight = weights[33u * t + s];
    numerator += weight * k_tile[33u * s + column];
    qn += weight;
  }
  numerator += left_of[t] * inter;
  qn += left_of[t] * inter_n;
  var below = 1.0;
  if (NORMALIZE) { below = max(abs(qn), xl_exp(-m_at(row))) + p.eps; }
  if (e < p.DV) { h_set(row * p.DV + e, numerator / below); }
  if (e == 0u) { denominator_set(row, select(qn, below, WANTED)); }
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

/**
 * @file What the mLSTM kernels of the WebGPU device share: gates as factors, chunks, and the states at the borders of
 * chunks. The step form defines it; here it is taken apart as follows.
 *
 * With the running maximum m of all steps known, a step is C_t = f_t C_{t-1} + i_t k_t v_t^T with f_t = exp(logsigmoid(f~) +
 * m_{t-1} - m_t) and i_t = exp(i~ - m_t), both in 0..1; f_t is 0 where a document begins. Step s then weighs
 * w[t,s] = i_s f_{s+1} .. f_t in step t: within a chunk a product of factors, never a difference of sums of logarithms,
 * which would cancel. The normaliser n is one more column of C, for values of 1. So states are [DK,DV+1] = [DK,DW].
 */
import type { DeviceBuffer } from '../../kernels.js';
import { InputGate } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { MATH } from '../math.js';
import { lines, map, mapGroups, program } from '../program.js';

export type Opt = DeviceBuffer | null;

/** Steps of a chunk, and the sides of all tiles: an invocation holds some rows of one column. */
export const CHUNK = 32;

export interface Sizes {
  readonly B: number;
  readonly T: number;
  readonly NH: number;
  readonly DK: number;
  readonly DV: number;
  /** DV + 1. */
  readonly DW: number;
  /** Chunks. */
  readonly NC: number;
}

export const sizesOf = (B: number, T: number, NH: number, DK: number, DV: number): Sizes => ({
  ...{ B, T, NH, DK, DV },
  DW: DV + 1,
  NC: Math.ceil(T / CHUNK),
});

/** Floats of the states at the begin of every chunk and behind the last: [B,NH,NC+1,DK,DW]. */
export const statesLength = ({ B, NH, NC, DK, DW }: Sizes): number => B * NH * (NC + 1) * DK * DW;

export const SIZES = 'T NH DK DV DW NC';

/**
 * The gates of all rows [B,T,NH] as planes: the factors f and i, whether the input made the maximum (1) or not, and what
 * a gradient of log f and log i is multiplied with to become that of f~ and i~.
 */
export const GATE_PLANES = 5;

const PUT_GATES = `
const PLANE_F = 0u; const PLANE_I = 1u; const PLANE_WINS = 2u; const PLANE_DF = 3u; const PLANE_DI = 4u;
fn put_gates(row: u32, i_pre: f32, f_pre: f32, m_before: f32, m_here: f32, isReset: bool) {
  let slope = xl_sigmoid(-f_pre);
  if (EXPONENTIAL) {
    let forgotten = xl_logsigmoid(f_pre) + select(m_before, LOWEST, isReset);
    gates_set(row, xl_exp(forgotten - m_here));
    gates_set(p.rows + row, xl_exp(i_pre - m_here));
    gates_set(2u * p.rows + row, select(0.0, 1.0, i_pre >= forgotten));
    gates_set(4u * p.rows + row, 1.0);
  } else {
    gates_set(row, select(xl_sigmoid(f_pre), 0.0, isReset));
    gates_set(p.rows + row, xl_sigmoid(i_pre));
    gates_set(2u * p.rows + row, 0.0);
    gates_set(4u * p.rows + row, xl_sigmoid(-i_pre));
  }
  gates_set(3u * p.rows + row, slope);
}
`;

/** An invocation per sequence and head walks over time: m and the gates. */
const SCAN = map(
  'mlstm gates',
  'm mout gates',
  'i f min reset:u8',
  'T NH rows',
  `let b = n / p.NH;
  let head = n % p.NH;
  var before = select(LOWEST, max(min_at(n), LOWEST), has_min);
  if (!EXPONENTIAL) { before = 0.0; }
  for (var t = 0u; t < p.T; t++) {
    let row = (b * p.T + t) * p.NH + head;
    let isReset = reset_at(b * p.T + t) != 0u;
    let i_pre = i_at(row);
    let f_pre = f_at(row);
    var here = 0.0;
    if (EXPONENTIAL) { here = max(xl_logsigmoid(f_pre) + select(before, LOWEST, isReset), i_pre); }
    put_gates(row, i_pre, f_pre, before, here, isReset);
    m_set(row, here);
    before = here;
  }
  mout_set(n, before);`,
  MATH + PUT_GATES,
);
/** As above where m is known: all rows at once. */
const KNOWN = map(
  'mlstm gates of known m',
  'gates',
  'm i f min reset:u8',
  'T NH rows',
  `let t = (n / p.NH) % p.T;
  let b = n / (p.NH * p.T);
  var before = select(LOWEST, max(min_at(b * p.NH + n % p.NH), LOWEST), has_min);
  if (t > 0u) { before = m_at(n - p.NH); }
  put_gates(n, i_at(n), f_at(n), before, m_at(n), reset_at(b * p.T + t) != 0u);`,
  MATH + PUT_GATES,
);

export interface GateBuffers {
  readonly gates: DeviceBuffer;
  readonly m: DeviceBuffer;
  readonly i: DeviceBuffer;
  readonly f: DeviceBuffer;
  readonly min: Opt;
  readonly reset: Opt;
}

export function scanGates(gpu: Gpu, buffers: GateBuffers & { mout: Opt }, { B, T, NH }: Sizes, gate: InputGate): void {
  const constants = { EXPONENTIAL: gate === InputGate.exponential };
  gpu.run(SCAN, { ...buffers }, { N: B * NH, T, NH, rows: B * T * NH }, mapGroups(B * NH), constants);
}

export function knownGates(gpu: Gpu, buffers: GateBuffers, { B, T, NH }: Sizes, gate: InputGate): void {
  const [rows, constants] = [B * T * NH, { EXPONENTIAL: gate === InputGate.exponential }];
  gpu.run(KNOWN, { ...buffers }, { N: rows, T, NH, rows }, mapGroups(rows), constants);
}

/**
 * Of a workgroup that works on chunk `chunk` of sequence b and head: `row_of(t)`, and the factors of its steps (of steps
 * behind the last: f = 1, i = 0).
 */
export const CHUNKS = `
const CHUNK = 32u;
var<workgroup> f_of: array<f32, 32>;
var<workgroup> i_of: array<f32, 32>;
var<workgroup> end_of: array<f32, 32>; // what step s weighs at the end of the chunk
var<workgroup> left_of: array<f32, 32>; // how much of the state before the chunk is left after step t
fn row_of(b: u32, head: u32, chunk: u32, t: u32) -> u32 { return (b * p.T + chunk * CHUNK + t) * p.NH + head; }
fn is_step(chunk: u32, t: u32) -> bool { return chunk * CHUNK + t < p.T; }
// What weighs nothing does not get in, even where it is infinite or no number: it is of another document, or later.
fn weighed(weight: f32, value: f32) -> f32 { return select(weight * value, 0.0, weight == 0.0); }
// Of factors up to here and the next: once nothing is left, nothing is.
fn further(product: f32, factor: f32) -> f32 { return select(product * factor, 0.0, product == 0.0 || factor == 0.0); }
fn load_factors(b: u32, head: u32, chunk: u32, lane: u32) {
  if (lane < CHUNK) {
    let isStep = is_step(chunk, lane);
    f_of[lane] = 1.0;
    i_of[lane] = 0.0;
    if (isStep) {
      f_of[lane] = gates_at(row_of(b, head, chunk, lane));
      i_of[lane] = gates_at(p.rows + row_of(b, head, chunk, lane));
    }
  }
  workgroupBarrier();
  if (lane < CHUNK) {
    var product = i_of[lane];
    for (var r = lane + 1u; r < CHUNK; r++) { product = further(product, f_of[r]); }
    end_of[lane] = product;
    product = 1.0;
    for (var r = 0u; r <= lane; r++) { product = further(product, f_of[r]); }
    left_of[lane] = product;
  }
  workgroupBarrier();
}
`;

/** `weights[33 t + s]` = w[t,s], 0 above the diagonal; invocation s of the first 32 makes column s. */
export const WEIGHTS = `
var<workgroup> weights: array<f32, 1056>;
fn make_weights(lane: u32) {
  if (lane < CHUNK) {
    for (var t = 0u; t < lane; t++) { weights[33u * t + lane] = 0.0; }
    var product = i_of[lane];
    for (var t = lane; t < CHUNK; t++) {
      if (t > lane) { product = further(product, f_of[t]); }
      weights[33u * t + lane] = product;
    }
  }
}
`;

/** WGSL that multiplies the weight of element n of an invocation. */
export const weigh = (n: number, value: string): string => {
  const at = `weights[33u * ${rowOf(n)} + ${columnOf(n)}]`;
  return `${at} = weighed(${at}, ${value});`;
};

/** A piece of WGSL for each of the 16 elements of an invocation, which are no array while they are summed up: that is slow. */
export const each = (text: (n: number) => string): string => lines(16, text);

/** Row and column of element n of invocation `lane` in a tile of 32 x 32: 4 x 4 of them, eight apart. */
export const rowOf = (n: number): string => `(lane / 8u + ${8 * Math.floor(n / 4)}u)`;
export const columnOf = (n: number): string => `(lane % 8u + ${8 * (n % 4)}u)`;

/** Names the four values of an invocation's rows, or columns, that `value(row)` reads. */
export const ofRows = (name: string, value: (row: string) => string): string =>
  lines(4, (i) => `let ${name}${i} = ${value(rowOf(4 * i))};`);
export const ofColumns = (name: string, value: (column: string) => string): string =>
  lines(4, (j) => `let ${name}${j} = ${value(columnOf(j))};`);

/** Adds to each of the 16 sums the product of its row's and its column's value. */
export const addProducts = (sum: string, row: string, column: string): string =>
  each((n) => `${sum}${n} = fma(${row}${Math.floor(n / 4)}, ${column}${n % 4}, ${sum}${n});`);

/** The same where the row's value is a weight: see `weighed`. */
export const addWeighed = (sum: string, weight: string, column: string): string =>
  lines(4, (i) => `let isNone_${weight}${i} = ${weight}${i} == 0.0;`) +
  each((n) => {
    const [i, j] = [Math.floor(n / 4), n % 4];
    return `${sum}${n} = fma(${weight}${i}, select(${column}${j}, 0.0, isNone_${weight}${i}), ${sum}${n});`;
  });

/** The first state of every head from Cin and nin, the last one to Cout and nout; zeros where absent. */
const BEGIN = map(
  'mlstm first state',
  'states',
  'Cin nin',
  'DK DV DW slots slot',
  `let head = n / (p.DK * p.DW);
  let d = (n / p.DW) % p.DK;
  let e = n % p.DW;
  var value = 0.0;
  if (e < p.DV) { value = Cin_at((head * p.DK + d) * p.DV + e); } else { value = nin_at(head * p.DK + d); }
  states_set((head * p.slots + p.slot) * p.DK * p.DW + n % (p.DK * p.DW), value);`,
);
const END = map(
  'mlstm last state',
  'Cout nout',
  'states',
  'DK DV DW slots slot',
  `let head = n / (p.DK * p.DW);
  let d = (n / p.DW) % p.DK;
  let e = n % p.DW;
  let value = states_at((head * p.slots + p.slot) * p.DK * p.DW + n % (p.DK * p.DW));
  if (ADD) {
    if (e < p.DV) { Cout_add((head * p.DK + d) * p.DV + e, value); } else { nout_add(head * p.DK + d, value); }
  } else {
    if (e < p.DV) { Cout_set((head * p.DK + d) * p.DV + e, value); } else { nout_set(head * p.DK + d, value); }
  }`,
);

const stateSizes = ({ B, NH, DK, DV, DW, NC }: Sizes, slot: number) => ({
  ...{ N: B * NH * DK * DW, DK, DV, DW, slots: NC + 1, slot },
});

/** Puts a state of the contract into one of the NC+1 places of `states`. */
export function beginStates(gpu: Gpu, states: DeviceBuffer, C: Opt, n: Opt, sizes: Sizes, slot: number): void {
  const all = stateSizes(sizes, slot);
  gpu.run(BEGIN, { states, Cin: C, nin: n }, all, mapGroups(all.N));
}

/** Hands the state of a place out; `add` for gradients. */
export function endStates(
  gpu: Gpu,
  C: Opt,
  n: Opt,
  states: DeviceBuffer,
  sizes: Sizes,
  slot: number,
  add: boolean,
): void {
  if (C === null && n === null) return;
  const all = stateSizes(sizes, slot);
  gpu.run(END, { Cout: C, nout: n, states }, all, mapGroups(all.N), { ADD: add });
}

/** A workgroup per sequence, head and tile of the state walks over the chunks and leaves the state at each border. */
const STATES = program({
  name: 'mlstm states',
  writes: 'states',
  reads: 'gates k v',
  sizes: `${SIZES} rows tilesK tilesW`,
  threads: 64,
  code: `${CHUNKS}
var<workgroup> k_tile: array<f32, 1024>; // [step, 32 of DK], weighed
var<workgroup> v_tile: array<f32, 1024>; // [step, 32 of DW]
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
  if (isThere${n}) { state${n} = states_at(at + place${n}); }`,
  )}
  for (var chunk = 0u; chunk < p.NC; chunk++) {
    load_factors(b, head, chunk, lane);
    for (var j = 0u; j < 16u; j++) {
      let s = lane / 32u + 2u * j;
      let d = first_d + lane % 32u;
      var key = 0.0;
      var value = 0.0;
      if (is_step(chunk, s)) {
        let row = row_of(b, head, chunk, s);
        if (d < p.DK) { key = k_at(row * p.DK + d); }
        if (e < p.DV) { value = v_at(row * p.DV + e); } else if (e == p.DV) { value = 1.0; }
      }
      k_tile[32u * s + lane % 32u] = weighed(end_of[s], key);
      v_tile[32u * s + lane % 32u] = select(value, 0.0, end_of[s] == 0.0);
    }
    workgroupBarrier();
    ${each((n) => `state${n} = weighed(left_of[31], state${n});`)}
    for (var s = 0u; s < CHUNK; s++) {
      ${ofRows('key', (row) => `k_tile[32u * s + ${row}]`)}
      ${ofColumns('value', (column) => `v_tile[32u * s + ${column}]`)}
      ${addProducts('state', 'key', 'value')}
    }
    ${each((n) => `if (isThere${n}) { states_set(at + (chunk + 1u) * size + place${n}, state${n}); }`)}
    workgroupBarrier();
  }
}`,
});

/** The states behind every chunk, from the one before the first. */
export function runStates(
  gpu: Gpu,
  states: DeviceBuffer,
  gates: DeviceBuffer,
  k: DeviceBuffer,
  v: DeviceBuffer,
  sizes: Sizes,
): void {
  const { B, T, NH, DK, DV, DW, NC } = sizes;
  const [tilesK, tilesW] = [Math.ceil(DK / 32), Math.ceil(DW / 32)];
  const all = { T, NH, DK, DV, DW, NC, rows: B * T * NH, tilesK, tilesW };
  gpu.run(STATES, { states, gates, k, v }, all, B * NH * tilesK * tilesW);
}

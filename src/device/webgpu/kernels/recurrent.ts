/**
 * @file What sLSTM and LSTM share on the WebGPU device: a whole sequence in one dispatch, a workgroup per batch row and
 * head that keeps its state in workgroup memory. The cells are in `slstm.ts` and `lstm.ts`.
 *
 * Around the dispatch lie others that see all steps at once: the inputs of the gates gathered before it, the gradients of
 * what is not carried from step to step behind it. Gates lie together there: [B,T,NH,4,DH].
 */
import type { DeviceBuffer, Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { MATH } from '../math.js';
import { map, mapGroups, program, type Program } from '../program.js';
import { copy, fill } from './elementwise.js';
import { multiply } from './matmul.js';
import { columnSum } from './sums.js';

type Opt = DeviceBuffer | null;

const GATHER = map(
  'gates of a recurrence',
  'gates',
  'i f z o bias',
  'NH DH',
  `let row = n / p.DH; // of [B,T,NH]
  let j = n % p.DH;
  let unit = (row % p.NH) * p.DH + j;
  let to = row * 4u * p.DH + j;
  let width = p.NH * p.DH;
  gates_set(to, i_at(n) + bias_at(unit));
  gates_set(to + p.DH, f_at(n) + bias_at(width + unit));
  gates_set(to + 2u * p.DH, z_at(n) + bias_at(2u * width + unit));
  gates_set(to + 3u * p.DH, o_at(n) + bias_at(3u * width + unit));`,
);
/** recurrent [NH,4,DH,DH] to [NH,DH,4,DH], so that neighbouring invocations read neighbouring numbers. */
const TRANSPOSE = map(
  'transposed recurrence',
  'y',
  'recurrent',
  'DH',
  `let row = n % (4u * p.DH);
  let column = (n / (4u * p.DH)) % p.DH;
  let head = n / (4u * p.DH * p.DH);
  y_set(n, recurrent_at((head * 4u * p.DH + row) * p.DH + column));`,
);
const SCATTER = map(
  'gradients of the gates of a recurrence',
  'di df dz do_',
  'dgates',
  'DH',
  `let from_ = (n / p.DH) * 4u * p.DH + n % p.DH;
  di_add(n, dgates_at(from_));
  df_add(n, dgates_at(from_ + p.DH));
  dz_add(n, dgates_at(from_ + 2u * p.DH));
  do__add(n, dgates_at(from_ + 3u * p.DH));`,
);
/** Columns are bias [4,NH,DH], rows the steps [B,T]. */
const BIAS = columnSum(
  'gradient of the bias of a recurrence',
  'dgates',
  'NH DH',
  'dgates_at(((row * p.NH + (column / p.DH) % p.NH) * 4u + column / (p.NH * p.DH)) * p.DH + column % p.DH)',
);
/** The h that each step read: of the step before, of the state, none where a document begins. */
const BEFORE = map(
  'h before each step of a recurrence',
  'y',
  'h stateIn reset:u8',
  'T width hState',
  `let t = (n / p.width) % p.T;
  let b = n / (p.width * p.T);
  var value = 0.0;
  if (reset_at(b * p.T + t) == 0u) {
    if (t > 0u) { value = h_at(n - p.width); } else { value = stateIn_at(p.hState + b * p.width + n % p.width); }
  }
  y_set(n, value);`,
);

/** A cell as WGSL, for unit j of a head whose state c, n, m lies in workgroup memory. */
export interface Cell {
  readonly name: 'slstm' | 'lstm';
  /** States [S,B,NH,DH]; h is the last. */
  readonly states: number;
  /** What each state is before the first step. */
  readonly empty: readonly number[];
  /** `fn begin(j, at, plane)`: state of unit j from stateIn, where `at` is its place in a plane. */
  readonly begin: string;
  /** `fn forget(j)`: the state as a document begins. */
  readonly forget: string;
  /** `fn step(j, at) -> f32`: the state after a step from `pre`, saved at `at` if wanted; returns h. */
  readonly step: string;
  /** `fn end(j, at, plane)`: the state to stateOut. */
  readonly end: string;
  /** `fn back(j, at, before, dh, isReset)`: gradients of the gates to `dpre`, those of the state before. */
  readonly back: string;
  /** `fn begin_back(j, at, plane)` and `fn end_back(j, at, plane)`: the carried gradients from dstateOut, to dstateIn. */
  readonly carry: string;
}

const THREADS = [64, 256] as const;

/** Workgroup memory of a unit: four gates, h and three states. */
const UNIT_BYTES = 4 * 8;

const MEMORY = `
var<workgroup> pre: array<f32, 4u * DH>; // gates [4,DH]
var<workgroup> h_before: array<f32, DH>;
var<workgroup> c: array<f32, DH>;
var<workgroup> n: array<f32, DH>;
var<workgroup> m: array<f32, DH>;
`;

function forwardProgram(cell: Cell, threads: number): Program {
  return program({
    name: `${cell.name}Forward ${threads}`,
    writes: 'h stateOut saved',
    reads: 'gates transposed stateIn reset:u8',
    sizes: 'B T NH units',
    threads,
    code: `${MATH}${MEMORY}${cell.begin}${cell.forget}${cell.step}${cell.end}
fn kernel(group: u32, lane: u32) {
  let b = group / p.NH;
  let head = group % p.NH;
  let plane = p.B * p.NH * DH;
  for (var j = lane; j < DH; j += THREADS) {
    begin(j, group * DH + j, plane);
    h_before[j] = stateIn_at(${cell.states - 1}u * plane + group * DH + j);
  }
  workgroupBarrier();
  for (var t = 0u; t < p.T; t++) {
    let row = (b * p.T + t) * p.NH + head;
    let isReset = reset_at(b * p.T + t) != 0u;
    for (var unit = lane; unit < 4u * DH; unit += THREADS) {
      var sum = 0.0;
      if (!isReset) {
        for (var i = 0u; i < DH; i++) { sum += transposed_at((head * DH + i) * 4u * DH + unit) * h_before[i]; }
      }
      pre[unit] = gates_at(row * 4u * DH + unit) + sum;
    }
    workgroupBarrier();
    for (var j = lane; j < DH; j += THREADS) {
      if (isReset) { forget(j); }
      let value = step(j, row * DH + j);
      h_before[j] = value;
      h_set(row * DH + j, value);
    }
    workgroupBarrier();
  }
  for (var j = lane; j < DH; j += THREADS) {
    end(j, group * DH + j, plane);
    stateOut_set(${cell.states - 1}u * plane + group * DH + j, h_before[j]);
  }
}`,
  });
}

function backwardProgram(cell: Cell, threads: number): Program {
  return program({
    name: `${cell.name}Backward ${threads}`,
    writes: 'dgates dstateIn',
    reads: 'dh dstateOut saved recurrent stateIn reset:u8',
    sizes: 'B T NH units',
    threads,
    // Here c, n, m and h_before hold the gradients of the state that later steps hand back.
    code: `${MATH}${MEMORY}${cell.back}${cell.carry}
fn kernel(group: u32, lane: u32) {
  let b = group / p.NH;
  let head = group % p.NH;
  let plane = p.B * p.NH * DH;
  for (var j = lane; j < DH; j += THREADS) {
    begin_back(j, group * DH + j, plane);
    h_before[j] = dstateOut_at(${cell.states - 1}u * plane + group * DH + j);
  }
  workgroupBarrier();
  for (var back_step = 0u; back_step < p.T; back_step++) {
    let t = p.T - 1u - back_step;
    let row = (b * p.T + t) * p.NH + head;
    let isReset = reset_at(b * p.T + t) != 0u;
    for (var j = lane; j < DH; j += THREADS) {
      let at = row * DH + j;
      back(j, at, t > 0u, group * DH + j, plane, dh_at(at) + h_before[j], isReset);
      for (var g = 0u; g < 4u; g++) { dgates_set((row * 4u + g) * DH + j, pre[g * DH + j]); }
    }
    workgroupBarrier();
    for (var i = lane; i < DH; i += THREADS) {
      var sum = 0.0;
      if (!isReset) {
        for (var unit = 0u; unit < 4u * DH; unit++) {
          sum += pre[unit] * recurrent_at((head * 4u * DH + unit) * DH + i);
        }
      }
      h_before[i] = sum;
    }
    workgroupBarrier();
  }
  for (var j = lane; j < DH; j += THREADS) {
    end_back(j, group * DH + j, plane);
    dstateIn_add(${cell.states - 1}u * plane + group * DH + j, h_before[j]);
  }
}`,
  });
}

/** Arguments as in the contract, which are the same for both cells. */
interface Recurrence {
  readonly forward: Kernels['slstmForward'] & Kernels['lstmForward'];
  readonly backward: Kernels['slstmBackward'] & Kernels['lstmBackward'];
}

/** Of no steps the state stays as it is. */
function keepState(gpu: Gpu, { empty }: Cell, stateOut: Opt, stateIn: Opt, plane: number): void {
  if (stateOut === null) return;
  if (stateIn !== null) copy(gpu, stateOut, stateIn);
  else empty.forEach((value, s) => fill(gpu, gpu.view(stateOut, s * plane, plane), value));
}

/** The kernels of a cell: functions that enqueue a whole sequence, forward and backward. */
export function recurrence(gpu: Gpu, cell: Cell): Recurrence {
  const [forwards, backwards] = [forwardProgram, backwardProgram].map((make) => THREADS.map((n) => make(cell, n)));
  const variant = (DH: number): number => (DH <= 32 ? 0 : 1);

  const check = (DH: number): void => {
    const { maxComputeWorkgroupStorageSize: most } = gpu.device.limits;
    if (DH * UNIT_BYTES > most) {
      throw new RangeError(
        `webgpu: ${cell.name}: a head of width ${DH} needs ${DH * UNIT_BYTES} bytes of workgroup memory, this adapter ` +
          `allows ${most} (maxComputeWorkgroupStorageSize); take more heads`,
      );
    }
  };

  return {
    forward(h, stateOut, saved, i, f, z, o, recurrent, bias, stateIn, reset, B, T, NH, DH) {
      check(DH);
      if (T === 0) {
        keepState(gpu, cell, stateOut, stateIn, B * NH * DH);
        return;
      }
      const units = B * T * NH * DH;
      gpu.withScratch([4 * units, NH * 4 * DH * DH], (gates, transposed) => {
        gpu.run(GATHER, { gates, i, f, z, o, bias }, { N: units, NH, DH }, mapGroups(units));
        const N = NH * 4 * DH * DH;
        gpu.run(TRANSPOSE, { y: transposed, recurrent }, { N, DH }, mapGroups(N));
        const all = { h, stateOut, saved, gates, transposed, stateIn, reset };
        gpu.run(forwards![variant(DH)]!, all, { B, T, NH, units }, B * NH, { DH });
      });
    },
    // prettier-ignore
    backward(di, df, dz, do_, drecurrent, dbias, dstateIn, dh, dstateOut, h, saved, recurrent, stateIn, reset, B, T, NH, DH) {
      check(DH);
      const [width, units] = [NH * DH, B * T * NH * DH];
      gpu.withScratch([4 * units, units], (dgates, before) => {
        const all = { dgates, dstateIn, dh, dstateOut, saved, recurrent, stateIn, reset };
        gpu.run(backwards![variant(DH)]!, all, { B, T, NH, units }, B * NH, { DH });
        gpu.run(SCATTER, { di, df, dz, do_, dgates }, { N: units, DH }, mapGroups(units));
        BIAS(gpu, dbias, { dgates }, { NH, DH }, B * T, 4 * width);
        const hState = (cell.states - 1) * B * width;
        gpu.run(BEFORE, { y: before, h, stateIn, reset }, { N: units, T, width, hState }, mapGroups(units));
        // drecurrent [NH][4*DH,DH] += dgates^T [4*DH,B*T] before [B*T,DH]
        const batch = { count: NH, strideA: 4 * DH, strideB: DH, strideC: 4 * DH * DH };
        const shape = { M: 4 * DH, N: DH, K: B * T, lda: 4 * width, ldb: width, ldc: DH };
        multiply(gpu, { c: drecurrent, a: dgates, b: before, ...shape, transA: true, accumulate: true, batch });
      });
    },
  };
}

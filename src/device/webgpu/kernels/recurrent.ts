/**
 * @file What sLSTM and LSTM share on the WebGPU device: a whole sequence in one dispatch. The programs that walk over time
 * are in `recurrent-groups.ts` and, for a GPU in software, `recurrent-quads.ts`; the cells in `slstm.ts` and `lstm.ts`.
 *
 * Around the dispatch lie others that see all steps at once: the inputs of the gates gathered before it, the gradients of
 * what is not carried from step to step behind it. Gates lie together there: [B,T,NH,4,DH].
 */
import type { DeviceBuffer, Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import { map, mapGroups } from '../program.js';
import { copy, fill } from './elementwise.js';
import { multiply } from './matmul.js';
import type { Cell, RecurrentForm } from './recurrent-cell.js';
import { groupForms } from './recurrent-groups.js';
import { quadForms } from './recurrent-quads.js';
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
  const [groups, quads] = [groupForms(cell), quadForms(cell)];
  const formFor = (B: number, NH: number, DH: number): RecurrentForm =>
    (gpu.isSoftware && gpu.hasSubgroups ? quads(B, NH, DH) : null) ?? groups(gpu, B, NH, DH);

  return {
    forward(h, stateOut, saved, i, f, z, o, recurrent, bias, stateIn, reset, B, T, NH, DH) {
      const { forward, groups, constants } = formFor(B, NH, DH);
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
        gpu.run(forward, all, { B, T, NH, units }, groups, constants);
      });
    },
    // prettier-ignore
    backward(di, df, dz, do_, drecurrent, dbias, dstateIn, dh, dstateOut, h, saved, recurrent, stateIn, reset, B, T, NH, DH) {
      const { backward, groups, constants } = formFor(B, NH, DH);
      const [width, units] = [NH * DH, B * T * NH * DH];
      gpu.withScratch([4 * units, units], (dgates, before) => {
        const all = { dgates, dstateIn, dh, dstateOut, saved, recurrent, stateIn, reset };
        gpu.run(backward, all, { B, T, NH, units }, groups, constants);
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

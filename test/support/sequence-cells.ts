/**
 * @file The sequence kernels behind one interface, forward only: inputs per step, a state that goes in and comes out,
 * resets. For tests of what holds for all of them.
 */
import type { Device } from '../../src/device/device.js';
import type { DeviceBuffer } from '../../src/device/kernels.js';
import { Activation, Decay, InputGate } from '../../src/device/kernels.js';
import { CaseRandom } from '../../src/device/selftest/problem.js';

/** What a cell carries; its buffers are the kernel's own state arguments, read back. */
export type CellState = readonly Float64Array[];

export interface CellResult {
  /** [B,T,width] */
  readonly h: Float64Array;
  readonly state: CellState;
}

export interface SequenceCell {
  readonly name: string;
  /** Width of each input per step: input k is [B,T,inputs[k]]. */
  readonly inputs: readonly number[];
  readonly width: number;
  /** Runs T steps of B sequences from `state` (null: from nothing). `reset` is [B,T]. */
  run(
    device: Device,
    inputs: readonly Float64Array[],
    state: CellState | null,
    reset: Uint8Array | null,
    B: number,
    T: number,
  ): Promise<CellResult>;
}

/** Float32 numbers, so that a float32 device gets the same. */
export function randomInputs(cell: SequenceCell, seed: string, B: number, T: number): Float64Array[] {
  return cell.inputs.map((width, k) => new CaseRandom(`${seed} ${k}`).floats(B * T * width).data as Float64Array);
}

/** Steps from..to of x [B,T,width]. */
export function sliceTime(
  x: Float64Array,
  B: number,
  T: number,
  width: number,
  from: number,
  to: number,
): Float64Array {
  const steps = to - from;
  const slice = new Float64Array(B * steps * width);
  for (let b = 0; b < B; b++) slice.set(x.subarray((b * T + from) * width, (b * T + to) * width), b * steps * width);
  return slice;
}

/** Memory of one run, given back at its end. */
function arena(device: Device) {
  const held: DeviceBuffer[] = [];
  const alloc = (length: number): DeviceBuffer => {
    const buffer = device.alloc('float', length);
    held.push(buffer);
    return buffer;
  };
  return {
    alloc,
    upload: (data: Float64Array): DeviceBuffer => {
      const buffer = alloc(data.length);
      device.write(buffer, data);
      return buffer;
    },
    flags: (data: Uint8Array | null): DeviceBuffer | null => {
      if (data === null) return null;
      const buffer = device.alloc('uint8', data.length);
      held.push(buffer);
      device.write(buffer, data);
      return buffer;
    },
    result: async (h: DeviceBuffer, state: readonly DeviceBuffer[]): Promise<CellResult> => {
      const read = async (buffer: DeviceBuffer) => Float64Array.from(await device.read(buffer));
      const result = { h: await read(h), state: await Promise.all(state.map(read)) };
      for (const buffer of held) device.free(buffer);
      return result;
    },
  };
}

const parameters = (seed: string, length: number, scale: number): Float64Array =>
  new CaseRandom(seed).floats(length, scale).data as Float64Array;

function convCell(D: number, K: number): SequenceCell {
  return {
    name: `conv1d K=${K}`,
    inputs: [D],
    width: D,
    async run(device, [x], state, reset, B, T) {
      const { alloc, upload, flags, result } = arena(device);
      const [y, stateOut] = [alloc(B * T * D), alloc(B * (K - 1) * D)];
      const [weight, bias] = [upload(parameters('conv weight', D * K, 0.5)), upload(parameters('conv bias', D, 0.5))];
      const stateIn = state && upload(state[0]!);
      const options = [B, T, D, K, Activation.silu] as const;
      device.kernels.conv1dForward(y, stateOut, upload(x!), weight, bias, stateIn, flags(reset), ...options);
      return result(y, [stateOut]);
    },
  };
}

function recurrentCell(cell: 'slstm' | 'lstm', NH: number, DH: number): SequenceCell {
  const [W, S] = [NH * DH, cell === 'slstm' ? 4 : 2];
  return {
    name: cell,
    inputs: [W, W, W, W],
    width: W,
    async run(device, inputs, state, reset, B, T) {
      const { alloc, upload, flags, result } = arena(device);
      const [h, stateOut] = [alloc(B * T * W), alloc(S * B * W)];
      const [i, f, z, o] = inputs.map(upload) as [DeviceBuffer, DeviceBuffer, DeviceBuffer, DeviceBuffer];
      const recurrent = upload(parameters(`${cell} recurrent`, NH * 4 * DH * DH, 0.7 / Math.sqrt(DH)));
      const bias = upload(parameters(`${cell} bias`, 4 * W, 0.5));
      const stateIn = state && upload(state[0]!);
      device.kernels[`${cell}Forward`](
        h,
        stateOut,
        null,
        i,
        f,
        z,
        o,
        recurrent,
        bias,
        stateIn,
        flags(reset),
        B,
        T,
        NH,
        DH,
      );
      return result(h, [stateOut]);
    },
  };
}

function deltaCell(NH: number, DK: number, DV: number, L: number, hasDecay: boolean): SequenceCell {
  const inputs = [NH * DK, NH * DK, NH * DV, NH, ...(hasDecay ? [NH] : [])];
  return {
    name: `delta rule${hasDecay ? ' with decay' : ''} L=${L}`,
    inputs,
    width: NH * DV,
    async run(device, data, state, reset, B, T) {
      const { alloc, upload, flags, result } = arena(device);
      const [o, stateOut] = [alloc(B * T * NH * DV), alloc(B * NH * DK * DV)];
      // Random keys are about sqrt(DK) long; the state must not grow.
      const [q, k, v] = [data[0]!, data[1]!.map((x) => x / DK), data[2]!].map(upload) as [
        DeviceBuffer,
        DeviceBuffer,
        DeviceBuffer,
      ];
      const beta = upload(data[3]!.map((x) => 1 / (1 + Math.exp(-x))));
      const g = hasDecay ? upload(data[4]!.map((x) => -0.1 * x * x)) : null;
      const before = [state && upload(state[0]!), flags(reset)] as const;
      device.kernels.deltaRuleForward(o, stateOut, q, k, v, beta, g, ...before, B, T, NH, DK, DV, L, 0.5);
      return result(o, [stateOut]);
    },
  };
}

function dplrCell(NH: number, DK: number, DV: number): SequenceCell {
  const keys = NH * DK;
  return {
    name: 'dplr',
    inputs: [keys, keys, NH * DV, keys, keys, keys],
    width: NH * DV,
    async run(device, data, state, reset, B, T) {
      const { alloc, upload, flags, result } = arena(device);
      const [o, stateOut] = [alloc(B * T * NH * DV), alloc(B * NH * DK * DV)];
      const [q, k, v, x, y, z] = data as [
        Float64Array,
        Float64Array,
        Float64Array,
        Float64Array,
        Float64Array,
        Float64Array,
      ];
      // The state must not grow: b about 1 / sqrt(DK) long, a the same turned around by up to as much.
      const b = y.map((value) => value / DK);
      const a = b.map((value, at) => -value / (1 + Math.exp(-x[at]!)));
      const g = z.map((value) => -0.1 * value * value);
      const inputs = [q, k, v, a, b, g].map(upload) as [
        DeviceBuffer,
        DeviceBuffer,
        DeviceBuffer,
        DeviceBuffer,
        DeviceBuffer,
        DeviceBuffer,
      ];
      const before = [state && upload(state[0]!), flags(reset)] as const;
      device.kernels.dplrForward(o, stateOut, ...inputs, ...before, B, T, NH, DK, DV);
      return result(o, [stateOut]);
    },
  };
}

export interface MlstmVariant {
  readonly inputGate: InputGate;
  readonly normalize: boolean;
  readonly L: number;
}

export const EPS = 1e-6;

function mlstmCell(NH: number, DK: number, DV: number, { inputGate, normalize, L }: MlstmVariant): SequenceCell {
  const gate = inputGate === InputGate.sigmoid ? 'sigmoid' : 'exponential';
  return {
    name: `mlstm ${gate}${normalize ? '' : ' unnormalised'} L=${L}`,
    inputs: [NH * DK, NH * DK, NH * DV, NH, NH],
    width: NH * DV,
    async run(device, inputs, state, reset, B, T) {
      const { alloc, upload, flags, result } = arena(device);
      const [h, m, denominator] = [alloc(B * T * NH * DV), alloc(B * T * NH), alloc(B * T * NH)];
      const [Cout, nout, mout] = [alloc(B * NH * DK * DV), alloc(B * NH * DK), alloc(B * NH)];
      const [q, k, v, i, f] = inputs.map(upload) as [
        DeviceBuffer,
        DeviceBuffer,
        DeviceBuffer,
        DeviceBuffer,
        DeviceBuffer,
      ];
      const [Cin, nin, min] = state
        ? (state.map(upload) as [DeviceBuffer, DeviceBuffer, DeviceBuffer])
        : [null, null, null];
      const states = [Cin, nin, min, flags(reset)] as const;
      const sizes = [B, T, NH, DK, DV, L, EPS, inputGate, normalize] as const;
      device.kernels.mlstmForward(h, m, denominator, Cout, nout, mout, q, k, v, i, f, ...states, ...sizes);
      return result(h, [Cout, nout, mout]);
    },
  };
}

/** The mLSTM again, but every step a call of the step kernel that updates the state in place. */
export function mlstmByStep(NH: number, DK: number, DV: number, { inputGate, normalize }: MlstmVariant): SequenceCell {
  const inputs = [NH * DK, NH * DK, NH * DV, NH, NH];
  return {
    name: 'mlstm step',
    inputs,
    width: NH * DV,
    async run(device, data, state, _reset, B, T) {
      const { alloc, upload, result } = arena(device);
      const empty = inputGate === InputGate.sigmoid ? 0 : -Infinity;
      const [C, n, m] = (
        state ?? [
          new Float64Array(B * NH * DK * DV),
          new Float64Array(B * NH * DK),
          new Float64Array(B * NH).fill(empty),
        ]
      ).map(upload) as [DeviceBuffer, DeviceBuffer, DeviceBuffer];
      const h = alloc(B * NH * DV);
      const whole = new Float64Array(B * T * NH * DV);
      for (let t = 0; t < T; t++) {
        const step = data.map((x, e) => upload(sliceTime(x, B, T, inputs[e]!, t, t + 1)));
        const [q, k, v, i, f] = step as [DeviceBuffer, DeviceBuffer, DeviceBuffer, DeviceBuffer, DeviceBuffer];
        device.kernels.mlstmStep(h, C, n, m, q, k, v, i, f, C, n, m, B, NH, DK, DV, EPS, inputGate, normalize);
        const values = await device.read(h);
        for (let b = 0; b < B; b++) whole.set(values.subarray(b * NH * DV, (b + 1) * NH * DV), (b * T + t) * NH * DV);
      }
      return { ...(await result(h, [C, n, m])), h: whole };
    },
  };
}

export const MLSTM_SIZES = [2, 5, 7] as const;

export const mlstmVariants: readonly MlstmVariant[] = [
  { inputGate: InputGate.exponential, normalize: true, L: 8 },
  { inputGate: InputGate.exponential, normalize: true, L: 64 },
  { inputGate: InputGate.exponential, normalize: false, L: 8 },
  { inputGate: InputGate.sigmoid, normalize: true, L: 8 },
  { inputGate: InputGate.sigmoid, normalize: false, L: 8 },
];

function selectiveScanCell(D: number, N: number): SequenceCell {
  return {
    name: 'selective scan',
    inputs: [D, D, N, N],
    width: D,
    async run(device, [u, delta, Bm, C], state, reset, B, T) {
      const { alloc, upload, flags, result } = arena(device);
      const [y, stateOut] = [alloc(B * T * D), alloc(B * D * N)];
      const A = upload(parameters('scan rates', D * N, 1).map((x) => -Math.fround(Math.exp(x))));
      const steps = upload(delta!.map((x) => Math.fround(Math.abs(x) / 4)));
      const inputs = [upload(u!), steps, A, upload(Bm!), upload(C!), null] as const;
      const before = [state && upload(state[0]!), flags(reset)] as const;
      device.kernels.selectiveScanForward(y, stateOut, null, ...inputs, ...before, B, T, D, N);
      return result(y, [stateOut]);
    },
  };
}

/** Grouped heads of attention, with rotary positions and a ring shorter than most sequences. */
function attentionCell(NH: number, NKV: number, DH: number, window: number): SequenceCell {
  const [queries, keys] = [NH * DH, NKV * DH];
  return {
    name: `attention W=${window}`,
    inputs: [queries, keys, keys],
    width: queries,
    async run(device, inputs, state, reset, B, T) {
      const { alloc, upload, flags, result } = arena(device);
      const { kernels } = device;
      const [q, k, v] = inputs.map(upload) as [DeviceBuffer, DeviceBuffer, DeviceBuffer];
      const [kIn, vIn, positionIn] = state ? state.map(upload) : [null, null, null];
      const positions = device.alloc('int32', B * T);
      const [y, lse, position] = [alloc(B * T * queries), alloc(B * T * NH * 2), alloc(B)];
      const [turned, key] = [alloc(B * T * queries), alloc(B * T * keys)];
      const [kOut, vOut] = [alloc(B * window * keys), alloc(B * window * keys)];
      kernels.positions(positions, position, positionIn, flags(reset), B, T);
      kernels.ropeForward(turned, q, positions, B * T, NH, DH, 100);
      kernels.ropeForward(key, k, positions, B * T, NKV, DH, 100);
      const sizes = [B, T, NH, NKV, DH, DH, window, 0, 0, 1 / Math.sqrt(DH), true] as const;
      kernels.attentionForward(y, lse, turned, key, v, null, kIn, vIn, positions, ...sizes);
      kernels.attentionCache(kOut, kIn, key, positions, B, T, window, keys);
      kernels.attentionCache(vOut, vIn, v, positions, B, T, window, keys);
      device.free(positions);
      return result(y, [kOut, vOut, position]);
    },
  };
}

function wkvCell(D: number): SequenceCell {
  return {
    name: 'wkv',
    inputs: [D, D],
    width: D,
    async run(device, [k, v], state, reset, B, T) {
      const { alloc, upload, flags, result } = arena(device);
      const [y, stateOut] = [alloc(B * T * D), alloc(3 * B * D)];
      const w = upload(parameters('wkv rates', D, 1).map((x) => Math.fround(Math.exp(x))));
      const inputs = [upload(k!), upload(v!), w, upload(parameters('wkv bonus', D, 1))] as const;
      device.kernels.wkvForward(y, stateOut, null, ...inputs, state && upload(state[0]!), flags(reset), B, T, D);
      return result(y, [stateOut]);
    },
  };
}

/** The two state-space recurrences: diagonal, and that of S4. */
function stateSpaceCell(form: 'diagonalScan' | 's4Scan', D: number, N: number): SequenceCell {
  return {
    name: form,
    inputs: [D],
    width: D,
    async run(device, [x], state, reset, B, T) {
      const { alloc, upload, flags, result } = arena(device);
      const { kernels } = device;
      const [y, stateOut] = [alloc(B * T * D), alloc(2 * B * N * D)];
      const modes = (name: string) => parameters(`${form} ${name}`, 2 * N * D, 0.7);
      const [c, input] = [upload(modes('C')), upload(x!)];
      const rest = [null, state && upload(state[0]!), flags(reset), B, T, N, D] as const;
      if (form === 's4Scan') {
        const model = [upload(modes('A')), upload(modes('P')), upload(modes('B')), c] as const;
        kernels.s4ScanForward(y, stateOut, input, ...model, upload(parameters('s4 steps', D, 1)), ...rest);
      } else {
        const z = modes('z').map((v, k) => (k < N * D ? -Math.fround(Math.exp(v - 2)) : v));
        kernels.diagonalScanForward(y, stateOut, input, c, upload(z), ...rest);
      }
      return result(y, [stateOut]);
    },
  };
}

function linearScanCell(D: number): SequenceCell {
  return {
    name: 'scan',
    inputs: [D, D],
    width: D,
    async run(device, [a, x], state, reset, B, T) {
      const { alloc, upload, flags, result } = arena(device);
      const [h, stateOut] = [alloc(B * T * D), alloc(B * D)];
      const decay = upload(a!.map((value) => Math.fround(1 / (1 + Math.exp(-value)))));
      device.kernels.scanForward(h, stateOut, decay, upload(x!), state && upload(state[0]!), flags(reset), B, T, D);
      return result(h, [stateOut]);
    },
  };
}

interface LinearVariant {
  readonly decay: Decay;
  readonly bonus: boolean;
  readonly normalize: boolean;
}

/** Groups of queries and keys, heads, widths. */
type LinearSizes = readonly [NG: number, NH: number, DK: number, DV: number];

function linearAttentionCell([NG, NH, DK, DV]: LinearSizes, { decay, bonus, normalize }: LinearVariant): SequenceCell {
  const decays = decay === Decay.vector ? NH * DK : NH;
  const kind = decay === Decay.vector ? 'vector' : 'scalar';
  return {
    name: `linear attention, ${kind} decay${bonus ? ', bonus' : ''}${normalize ? ', normalised' : ''}`,
    inputs: [NG * DK, NG * DK, NH * DV, decays],
    width: NH * DV,
    async run(device, inputs, state, reset, B, T) {
      const { alloc, upload, flags, result } = arena(device);
      // Keys and queries above 0 where they are divided by, log decays below 0.
      const [q, k, v, f] = inputs.map((x, e) =>
        upload(e === 3 ? x.map((y) => Math.fround(-Math.abs(y))) : e < 2 && normalize ? x.map(Math.abs) : x),
      ) as [DeviceBuffer, DeviceBuffer, DeviceBuffer, DeviceBuffer];
      const u = bonus ? upload(parameters('bonus', NH * DK, 0.5).map(Math.abs)) : null;
      const [Sin, zin] = [state && upload(state[0]!), state && normalize ? upload(state[1]!) : null];
      const [o, Sout] = [alloc(B * T * NH * DV), alloc(B * NH * DK * DV)];
      const [zout, denominator] = normalize ? [alloc(B * NH * DK), alloc(B * T * NH)] : [null, null];
      const sizes = [B, T, NH, NG, DK, DV, 64, 0.5, EPS, decay, normalize, true] as const;
      const before = [u, Sin, zin, flags(reset)] as const;
      device.kernels.linearAttentionForward(o, Sout, zout, denominator, q, k, v, f, ...before, ...sizes);
      return result(o, zout ? [Sout, zout] : [Sout]);
    },
  };
}

const linearVariants: readonly LinearVariant[] = [
  { decay: Decay.scalar, bonus: false, normalize: false },
  { decay: Decay.scalar, bonus: true, normalize: true },
  { decay: Decay.vector, bonus: false, normalize: true },
  { decay: Decay.vector, bonus: true, normalize: false },
];

/** Every sequence kernel at small odd sizes. */
export const sequenceCells: readonly SequenceCell[] = [
  convCell(5, 4),
  convCell(3, 1),
  recurrentCell('slstm', 3, 5),
  recurrentCell('lstm', 3, 5),
  deltaCell(2, 5, 7, 8, true),
  deltaCell(2, 5, 7, 64, false),
  dplrCell(2, 5, 7),
  ...mlstmVariants.map((variant) => mlstmCell(...MLSTM_SIZES, variant)),
  ...linearVariants.map((variant) => linearAttentionCell([2, 4, 5, 7], variant)),
  selectiveScanCell(5, 3),
  stateSpaceCell('diagonalScan', 5, 3),
  stateSpaceCell('s4Scan', 5, 3),
  wkvCell(5),
  linearScanCell(5),
  attentionCell(4, 2, 6, 7),
  attentionCell(2, 1, 4, 64),
];

/** The sequence form of the mLSTM of that variant. */
export const mlstmBySequence = (variant: MlstmVariant): SequenceCell => mlstmCell(...MLSTM_SIZES, variant);

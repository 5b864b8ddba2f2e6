/**
 * @file Runs the cells on a device with the inputs of the golden files and measures how far outputs, last states and
 * gradients are from the recorded ones. It knows the layouts of those files, which differ from the contract's.
 */
import type { Device } from '../../src/device/device.js';
import type { DeviceBuffer } from '../../src/device/kernels.js';
import { InputGate, LSTM_SAVED, SLSTM_SAVED } from '../../src/device/kernels.js';
import { relativeRms } from './compare.js';
import type { Fixture } from './safetensors.js';
import { float64Of, readGolden } from './safetensors.js';

/** How far one tensor is from the recorded one, as RMS(error) / RMS(recorded). */
export interface GoldenGap {
  readonly tensor: string;
  readonly gap: number;
}

type Numbers = ArrayLike<number>;

/** Swaps the two middle axes of x [B,X,Y,W]. */
function swapMiddle(x: Numbers, B: number, X: number, Y: number, W: number): Float64Array {
  const swapped = new Float64Array(x.length);
  for (let b = 0; b < B; b++) {
    for (let i = 0; i < X; i++) {
      for (let j = 0; j < Y; j++) {
        for (let w = 0; w < W; w++) swapped[((b * Y + j) * X + i) * W + w] = x[((b * X + i) * Y + j) * W + w]!;
      }
    }
  }
  return swapped;
}

const scaled = (x: Numbers, factor: number): Float64Array => Float64Array.from(x, (value) => value * factor);

/** Memory on the device for one comparison. */
function workspace(device: Device) {
  const upload = (data: Numbers): DeviceBuffer => {
    const buffer = device.alloc('float', data.length);
    device.write(buffer, Float64Array.from(data));
    return buffer;
  };
  return {
    upload,
    fresh: (length: number): DeviceBuffer => device.alloc('float', length),
    zeros: (length: number): DeviceBuffer => upload(new Float64Array(length)),
    gap: async (tensor: string, buffer: DeviceBuffer, expected: Numbers): Promise<GoldenGap> => ({
      tensor,
      gap: relativeRms(await device.read(buffer), expected),
    }),
  };
}

/** The mLSTM files, and what each is about. */
export const mlstmGolden = [
  { file: 'mlstm_cell_a', inputGate: InputGate.exponential, normalize: true, scalesKeys: true },
  { file: 'mlstm_cell_b', inputGate: InputGate.exponential, normalize: true, scalesKeys: true },
  { file: 'mlstm_initial_state', inputGate: InputGate.exponential, normalize: true, scalesKeys: false },
  { file: 'mlstm_sigmoid_gate_norm', inputGate: InputGate.sigmoid, normalize: true, scalesKeys: false },
  { file: 'mlstm_sigmoid_gate_nonorm', inputGate: InputGate.sigmoid, normalize: false, scalesKeys: false },
] as const;

/** Gaps of h, of the last state where the file has one, and of every recorded gradient. @param L chunk length */
export async function mlstmGoldenGaps(
  device: Device,
  { file, inputGate, normalize, scalesKeys }: (typeof mlstmGolden)[number],
  L: number,
): Promise<GoldenGap[]> {
  const golden = readGolden(file);
  const { upload, fresh, zeros, gap } = workspace(device);
  const [B, NH, T, DK] = golden.tensors['q']!.shape as [number, number, number, number];
  const DV = golden.tensors['v']!.shape[3]!;
  const rows = B * T * NH;
  const recorded = (name: string, W: number) => swapMiddle(float64Of(golden, name), B, NH, T, W);
  const state = (name: string) => (golden.tensors[name] ? upload(float64Of(golden, name)) : null);

  const [q, k, v] = [upload(recorded('q', DK)), upload(recorded('k', DK)), upload(recorded('v', DV))];
  const [i, f] = [upload(recorded('igate_preact', 1)), upload(recorded('fgate_preact', 1))];
  const [Cin, nin, min] = [state('C0'), state('n0'), state('m0')];
  const [h, m, denominator] = [fresh(rows * DV), fresh(rows), fresh(rows)];
  const [Cout, nout, mout] = [fresh(B * NH * DK * DV), fresh(B * NH * DK), fresh(B * NH)];
  const sizes = [B, T, NH, DK, DV, L, 1e-6, inputGate, normalize] as const;
  const { kernels } = device;
  kernels.mlstmForward(h, m, denominator, Cout, nout, mout, q, k, v, i, f, Cin, nin, min, null, ...sizes);

  const [dq, dk, dv, di, df] = [zeros(rows * DK), zeros(rows * DK), zeros(rows * DV), zeros(rows), zeros(rows)];
  const [dCin, dnin, dmin] = [zeros(B * NH * DK * DV), zeros(B * NH * DK), zeros(B * NH)];
  const dh = upload(recorded('dh', DV));
  const inputs = [q, k, v, i, f, Cin, nin, min, null] as const;
  const gradients = [dq, dk, dv, di, df, dCin, dnin, dmin] as const;
  kernels.mlstmBackward(...gradients, dh, null, null, null, ...inputs, h, m, denominator, ...sizes);

  const gaps = [
    await gap('h', h, recorded('h', DV)),
    await gap('dq', dq, recorded('dq', DK)),
    await gap('dk', dk, recorded('dk', DK)),
    await gap('dv', dv, recorded('dv', DV)),
    await gap('di', di, recorded('digate', 1)),
    await gap('df', df, recorded('dfgate', 1)),
  ];
  if (golden.tensors['C_last']) {
    // C and n of unscaled keys are larger by sqrt(DK).
    const factor = scalesKeys ? Math.sqrt(DK) : 1;
    gaps.push(await gap('C', Cout, scaled(float64Of(golden, 'C_last'), factor)));
    gaps.push(await gap('n', nout, scaled(float64Of(golden, 'n_last'), factor)));
    gaps.push(await gap('m', mout, float64Of(golden, 'm_last')));
  }
  if (golden.tensors['dC0']) {
    gaps.push(await gap('dC0', dCin, float64Of(golden, 'dC0')), await gap('dn0', dnin, float64Of(golden, 'dn0')));
  }
  return gaps;
}

const GATES = [0, 1, 2, 3] as const;

/** Columns of gate g out of x [rows,4,W]. */
const gateOf = (x: Numbers, g: number, rows: number, W: number): Float64Array =>
  Float64Array.from({ length: rows * W }, (_, at) => x[(Math.floor(at / W) * 4 + g) * W + (at % W)]!);

interface RecurrentGolden {
  readonly golden: Fixture;
  readonly sizes: readonly [B: number, T: number, NH: number, DH: number];
}

function recurrentGolden(cell: 'slstm' | 'lstm'): RecurrentGolden {
  const golden = readGolden(`${cell}_cell`);
  const [B, NH, T, DH] = golden.tensors['y']!.shape as [number, number, number, number];
  return { golden, sizes: [B, T, NH, DH] };
}

/** Gaps of h, of the last states and of every gradient of the sLSTM or the LSTM. */
export async function recurrentGoldenGaps(device: Device, cell: 'slstm' | 'lstm'): Promise<GoldenGap[]> {
  const { golden, sizes } = recurrentGolden(cell);
  const { upload, fresh, zeros, gap } = workspace(device);
  const { kernels } = device;
  const [B, T, NH, DH] = sizes;
  const W = NH * DH;
  // The files order the states h c n m, the contract c n m h.
  const states = cell === 'slstm' ? [1, 2, 3, 0] : [1, 0];
  const lastState = float64Of(golden, 'last_state');
  const expectedState = states.flatMap((s) => [...lastState.subarray(s * B * W, (s + 1) * B * W)]);

  const gatesOf = (x: Numbers) => GATES.map((g) => gateOf(x, g, B * T, W));
  const [i, f, z, o] = gatesOf(float64Of(golden, 'x')).map(upload) as [
    DeviceBuffer,
    DeviceBuffer,
    DeviceBuffer,
    DeviceBuffer,
  ];
  const [recurrent, bias] = [upload(float64Of(golden, 'recurrent_kernel')), upload(float64Of(golden, 'bias'))];
  const [h, stateOut] = [fresh(B * T * W), fresh(states.length * B * W)];
  const saved = fresh((cell === 'slstm' ? SLSTM_SAVED : LSTM_SAVED) * B * T * W);
  kernels[`${cell}Forward`](h, stateOut, saved, i, f, z, o, recurrent, bias, null, null, ...sizes);

  const [di, df, dz, do_] = [zeros(B * T * W), zeros(B * T * W), zeros(B * T * W), zeros(B * T * W)];
  const [drecurrent, dbias] = [zeros(NH * 4 * DH * DH), zeros(4 * W)];
  const dh = upload(swapMiddle(float64Of(golden, 'dy'), B, NH, T, DH));
  kernels[`${cell}Backward`](
    di,
    df,
    dz,
    do_,
    drecurrent,
    dbias,
    null,
    dh,
    null,
    h,
    saved,
    recurrent,
    null,
    null,
    ...sizes,
  );

  const expectedGates = gatesOf(float64Of(golden, 'dx'));
  return [
    await gap('h', h, swapMiddle(float64Of(golden, 'y'), B, NH, T, DH)),
    await gap('last states', stateOut, expectedState),
    await gap('di', di, expectedGates[0]!),
    await gap('df', df, expectedGates[1]!),
    await gap('dz', dz, expectedGates[2]!),
    await gap('do', do_, expectedGates[3]!),
    await gap('drecurrent', drecurrent, float64Of(golden, 'd_recurrent_kernel')),
    await gap('dbias', dbias, float64Of(golden, 'd_bias')),
  ];
}

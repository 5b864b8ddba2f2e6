/**
 * @file The recurrent cells on the CPU where the self-test's small cases do not lead: long chunks, heads of several
 * panels, more border states than are kept at once, batches of several slices, gradients through a carried state.
 */
import { array, assert, asyncProperty, boolean, integer } from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import type { DeviceBuffer, KernelName } from '../../src/device/kernels.js';
import { InputGate, LSTM_SAVED, SLSTM_SAVED } from '../../src/device/kernels.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { CaseRandom } from '../../src/device/selftest/problem.js';
import { relativeRms } from '../support/compare.js';
import { cpuOrReason } from '../support/cpu.js';

/** An argument of a kernel: numbers to read, memory to write (fresh), zeros to add to, nothing, or an option. */
type Argument = Float64Array | Uint8Array | { fresh: number } | { zeros: number } | null | number | boolean;
type Results = Float64Array[];

const fresh = (length: number) => ({ fresh: length });
const zeros = (length: number) => ({ zeros: length });
const random = (seed: string, length: number, scale = 1, offset = 0): Float64Array =>
  new CaseRandom(seed).floats(length, scale, offset).data as Float64Array;

/** Calls a kernel and returns what it wrote, in the order of its arguments. */
async function call(device: Device, kernel: KernelName, args: readonly Argument[]): Promise<Results> {
  const held: DeviceBuffer[] = [];
  const written: DeviceBuffer[] = [];
  const place = (argument: Argument): unknown => {
    if (argument === null || typeof argument !== 'object') return argument;
    const isData = argument instanceof Float64Array || argument instanceof Uint8Array;
    const length = isData ? argument.length : 'fresh' in argument ? argument.fresh : argument.zeros;
    const buffer = device.alloc(argument instanceof Uint8Array ? 'uint8' : 'float', length);
    held.push(buffer);
    if (isData) device.write(buffer, argument);
    else written.push(buffer);
    if ('zeros' in argument) device.write(buffer, new Float64Array(length));
    return buffer;
  };
  (device.kernels[kernel] as (...all: unknown[]) => void)(...args.map(place));
  const results = await Promise.all(written.map(async (buffer) => Float64Array.from(await device.read(buffer))));
  held.forEach((buffer) => device.free(buffer));
  return results;
}

function expectClose(actual: Results, expected: Results, tolerance: number, names: readonly string[]): void {
  expect(actual.length).toBe(expected.length);
  actual.forEach((x, k) => expect(relativeRms(x, expected[k]!), names[k]).toBeLessThan(tolerance));
}

// ---- mLSTM -----------------------------------------------------------------------------------------------------------

interface MlstmProblem {
  readonly B: number;
  readonly T: number;
  readonly NH: number;
  readonly DK: number;
  readonly DV: number;
  readonly inputs: readonly Float64Array[];
  /** C n m before the first step, or nothing. */
  readonly state: readonly (Float64Array | null)[];
  readonly reset: Uint8Array | null;
  readonly gate: InputGate;
  readonly normalize: boolean;
}

interface MlstmOptions {
  readonly state?: boolean;
  readonly reset?: boolean;
  readonly gate?: InputGate;
  readonly normalize?: boolean;
}

const MLSTM_NAMES = ['h', 'm', 'denominator', 'Cout', 'nout', 'mout'];
const MLSTM_GRADIENTS = ['dq', 'dk', 'dv', 'di', 'df', 'dCin', 'dnin', 'dmin'];

function mlstmProblem(
  [B, T, NH, DK, DV]: readonly [number, number, number, number, number],
  { state = true, reset = false, gate = InputGate.exponential, normalize = true }: MlstmOptions = {},
): MlstmProblem {
  const rows = B * T * NH;
  const seed = `mlstm ${B} ${T} ${NH} ${DK} ${DV}`;
  const widths = [DK, DK, DV, 1, 1];
  const inputs = widths.map((width, k) => random(`${seed} ${k}`, rows * width, 1, k === 4 ? 2 : 0));
  const states = [DK * DV, DK, 1].map((width, k) => (state ? random(`${seed} state ${k}`, B * NH * width) : null));
  const flags = Uint8Array.from({ length: B * T }, (_, at) => (at % 23 === 7 ? 1 : 0));
  return { ...{ B, T, NH, DK, DV, inputs, state: states, reset: reset ? flags : null, gate, normalize } };
}

const mlstmSizes = ({ B, T, NH, DK, DV, gate, normalize }: MlstmProblem, L: number) =>
  [B, T, NH, DK, DV, L, 1e-6, gate, normalize] as const;

const mlstmForward = (device: Device, p: MlstmProblem, L: number): Promise<Results> => {
  const [rows, heads] = [p.B * p.T * p.NH, p.B * p.NH];
  const outputs = [rows * p.DV, rows, rows, heads * p.DK * p.DV, heads * p.DK, heads].map(fresh);
  return call(device, 'mlstmForward', [...outputs, ...p.inputs, ...p.state, p.reset, ...mlstmSizes(p, L)]);
};

/** Gradients, after the device's own forward pass. `last` are the cotangents of the last state. */
async function mlstmBackward(
  device: Device,
  p: MlstmProblem,
  L: number,
  dh: Float64Array,
  last: readonly (Float64Array | null)[],
): Promise<Results> {
  const [h, m, denominator] = await mlstmForward(device, p, L);
  const [rows, heads] = [p.B * p.T * p.NH, p.B * p.NH];
  const widths = [p.DK, p.DK, p.DV, 1, 1];
  const gradients = [...widths.map((width) => rows * width), heads * p.DK * p.DV, heads * p.DK, heads].map(zeros);
  const kept = [h!, m!, denominator!];
  return call(device, 'mlstmBackward', [
    ...[...gradients, dh, ...last, ...p.inputs, ...p.state, p.reset, ...kept],
    ...mlstmSizes(p, L),
  ]);
}

const mlstmCotangents = ({ B, T, NH, DK, DV }: MlstmProblem) => ({
  dh: random('dh', B * T * NH * DV),
  last: [DK * DV, DK, 1].map((width, k) => random(`last ${k}`, B * NH * width)),
});

// ---- sLSTM and LSTM --------------------------------------------------------------------------------------------------

type Cell = 'slstm' | 'lstm';

interface CellProblem {
  readonly cell: Cell;
  readonly sizes: readonly [B: number, T: number, NH: number, DH: number];
  readonly gates: readonly Float64Array[];
  readonly recurrent: Float64Array;
  readonly bias: Float64Array;
  readonly state: Float64Array | null;
  readonly reset: Uint8Array | null;
}

const CELL_GRADIENTS = ['di', 'df', 'dz', 'do', 'drecurrent', 'dbias', 'dstateIn'];
const statesOf = (cell: Cell): number => (cell === 'slstm' ? 4 : 2);

function cellProblem(
  cell: Cell,
  sizes: CellProblem['sizes'],
  { state = false, reset = false }: { state?: boolean; reset?: boolean } = {},
): CellProblem {
  const [B, T, NH, DH] = sizes;
  const seed = `${cell} ${sizes.join()}`;
  const units = B * NH * DH;
  const gates = [0, 1, 2, 3].map((g) => random(`${seed} ${g}`, units * T, 1, g === 1 ? 1 : 0));
  // n of a running sLSTM is at least 1.
  const states = random(`${seed} state`, statesOf(cell) * units, 0.5);
  if (cell === 'slstm') for (let u = units; u < 2 * units; u++) states[u] = Math.fround(1 + Math.abs(states[u]!));
  return {
    ...{ cell, sizes, gates },
    recurrent: random(`${seed} recurrent`, NH * 4 * DH * DH, 0.7 / Math.sqrt(DH)),
    bias: random(`${seed} bias`, 4 * NH * DH, 0.5),
    state: state ? states : null,
    reset: reset ? Uint8Array.from({ length: B * T }, (_, at) => (at % 29 === 11 ? 1 : 0)) : null,
  };
}

const cellForward = (device: Device, p: CellProblem): Promise<Results> => {
  const [B, T, NH, DH] = p.sizes;
  const units = B * NH * DH;
  const saved = fresh(units * T * (p.cell === 'slstm' ? SLSTM_SAVED : LSTM_SAVED));
  return call(device, `${p.cell}Forward`, [
    ...[fresh(units * T), fresh(statesOf(p.cell) * units), saved],
    ...[...p.gates, p.recurrent, p.bias, p.state, p.reset, ...p.sizes],
  ]);
};

/** Gradients, after the device's own forward pass. */
async function cellBackward(
  device: Device,
  p: CellProblem,
  dh: Float64Array,
  dstate: Float64Array | null,
): Promise<Results> {
  const [h, , saved] = await cellForward(device, p);
  const [B, T, NH, DH] = p.sizes;
  const units = B * NH * DH;
  const gradients = [...[1, 1, 1, 1].map(() => units * T), NH * 4 * DH * DH, 4 * NH * DH, statesOf(p.cell) * units];
  return call(device, `${p.cell}Backward`, [
    ...[...gradients.map(zeros), dh, dstate, h!, saved!, p.recurrent, p.state, p.reset],
    ...p.sizes,
  ]);
}

// ---- tests -----------------------------------------------------------------------------------------------------------

const found = cpuOrReason();
const reason = typeof found === 'string' ? ` (skipped: ${found})` : '';

describe.skipIf(reason !== '')(`recurrent cells on the cpu${reason}`, () => {
  const cpu = found as Device;
  const reference = createReferenceDevice();
  if (reason === '') cpu.poison = true;

  const gates = [InputGate.exponential, InputGate.sigmoid].flatMap((gate) =>
    [true, false].map((normalize) => ({ gate, normalize })),
  );

  test.each(gates)('mlstm: any chunk length gives the same, %o', async (options) => {
    const p = mlstmProblem([1, 270, 2, 9, 6], { ...options, reset: true });
    const { dh, last } = mlstmCotangents(p);
    const [h, gradients] = [await mlstmForward(reference, p, 1), await mlstmBackward(reference, p, 1, dh, last)];
    await assert(
      asyncProperty(integer({ min: 1, max: 300 }), async (L) => {
        expectClose(await mlstmForward(cpu, p, L), h, 1e-5, MLSTM_NAMES);
        expectClose(await mlstmBackward(cpu, p, L, dh, last), gradients, 1e-5, MLSTM_GRADIENTS);
      }),
      { numRuns: 12, seed: 3, examples: [[1], [64], [129], [270]] },
    );
  });

  test.each([
    [1, 70, 1, 130, 200],
    [1, 40, 2, 64, 129],
    [2, 33, 1, 17, 3],
  ] as const)('mlstm: heads of B=%d T=%d NH=%d DK=%d DV=%d', async (...sizes) => {
    const p = mlstmProblem(sizes);
    const { dh, last } = mlstmCotangents(p);
    expectClose(await mlstmForward(cpu, p, 32), await mlstmForward(reference, p, 32), 1e-5, MLSTM_NAMES);
    const expected = await mlstmBackward(reference, p, 32, dh, last);
    expectClose(await mlstmBackward(cpu, p, 32, dh, last), expected, 1e-5, MLSTM_GRADIENTS);
  });

  test('mlstm: more border states than are kept at once give the same gradients', async () => {
    // 300 states of 260 KB are above the 64 MB that the backward pass keeps; 5 states are not.
    const p = mlstmProblem([1, 300, 1, 256, 256], { reset: true });
    const { dh, last } = mlstmCotangents(p);
    const few = await mlstmBackward(cpu, p, 64, dh, last);
    expectClose(await mlstmBackward(cpu, p, 1, dh, last), few, 1e-5, MLSTM_GRADIENTS);
  });

  test('mlstm: a state without its m, and gradients without a state', async () => {
    const p = mlstmProblem([2, 21, 2, 5, 7]);
    const partial = { ...p, state: [p.state[0]!, p.state[1]!, null] };
    const { dh, last } = mlstmCotangents(p);
    for (const q of [partial, { ...p, state: [null, null, null] }]) {
      expectClose(await mlstmForward(cpu, q, 8), await mlstmForward(reference, q, 8), 1e-5, MLSTM_NAMES);
      const expected = await mlstmBackward(reference, q, 8, dh, last);
      expectClose(await mlstmBackward(cpu, q, 8, dh, last), expected, 1e-5, MLSTM_GRADIENTS);
    }
  });

  // Slices of 4 rows with a rest, of 16 rows, a head of several panels; saved values of more than 2 MB; a matrix of more
  // than 0.5 MB, whose slices take turns where there are more of them than threads.
  const batches = [
    [13, 7, 1, 24],
    [70, 3, 7, 8],
    [11, 64, 2, 64],
    [2, 9, 1, 150],
    [9, 5, 1, 190],
  ] as const;
  test.each(batches.flatMap((sizes) => (['slstm', 'lstm'] as const).map((cell) => [cell, sizes] as const)))(
    '%s: B T NH DH = %j',
    async (cell, sizes) => {
      const p = cellProblem(cell, sizes, { state: true, reset: true });
      const [B, T, NH, DH] = sizes;
      const dh = random('dh', B * T * NH * DH);
      const dstate = random('dstate', statesOf(cell) * B * NH * DH);
      const [h, state] = await cellForward(cpu, p);
      const [expectedH, expectedState] = await cellForward(reference, p);
      expectClose([h!, state!], [expectedH!, expectedState!], 1e-5, ['h', 'stateOut']);
      const expected = await cellBackward(reference, p, dh, dstate);
      expectClose(await cellBackward(cpu, p, dh, dstate), expected, 1e-5, CELL_GRADIENTS);
    },
  );

  test('the same bits whatever the number of threads, where work is cut into many tasks', async () => {
    const turns = (['slstm', 'lstm'] as const).map((cell) =>
      cellProblem(cell, [9, 5, 1, 190], { state: true, reset: true }),
    );
    const cells = [cellProblem('slstm', [70, 5, 3, 40]), cellProblem('lstm', [11, 64, 2, 64]), ...turns];
    const m = mlstmProblem([3, 150, 4, 20, 36], { reset: true });
    const { dh, last } = mlstmCotangents(m);
    const bits = async (threads: number): Promise<Results> => {
      const device = cpuOrReason({ threads }) as Device;
      const ofCells = cells.map((p) => cellBackward(device, p, random('dh', p.gates[0]!.length), null));
      return [...(await Promise.all(ofCells)).flat(), ...(await mlstmBackward(device, m, 32, dh, last))];
    };
    const alone = await bits(1);
    for (const threads of [2, 5]) expect(await bits(threads)).toEqual(alone);
    cpuOrReason({ threads: 0 });
  });

  describe('gradients through a state that is carried over a cut are those of the whole', () => {
    const cuts = array(integer({ min: 1, max: 20 }), { minLength: 2, maxLength: 2 });
    const slice = (x: Float64Array, T: number, from: number, to: number): Float64Array =>
      x.slice((x.length / T) * from, (x.length / T) * to);
    const join = (a: Float64Array, b: Float64Array): Float64Array => Float64Array.of(...a, ...b);
    const sum = (a: Float64Array, b: Float64Array): Float64Array => a.map((x, e) => x + b[e]!);

    test('mlstm', async () => {
      await assert(
        asyncProperty(cuts, boolean(), boolean(), async ([first, second], normalize, sigmoid) => {
          const T = first! + second!;
          const gate = sigmoid ? InputGate.sigmoid : InputGate.exponential;
          const p = mlstmProblem([1, T, 2, 6, 5], { gate, normalize });
          const { dh, last } = mlstmCotangents(p);
          const part = (from: number, to: number, state: MlstmProblem['state']): MlstmProblem => ({
            ...{ ...p, T: to - from, state },
            inputs: p.inputs.map((x) => slice(x, T, from, to)),
          });
          const head = part(0, first!, p.state);
          const [, , , ...carried] = await mlstmForward(cpu, head, 8);
          const tail = await mlstmBackward(cpu, part(first!, T, carried), 8, slice(dh, T, first!, T), last);
          const front = await mlstmBackward(cpu, head, 8, slice(dh, T, 0, first!), tail.slice(5));
          const joined = front.map((x, k) => (k < 5 ? join(x, tail[k]!) : x));
          expectClose(joined, await mlstmBackward(reference, p, 8, dh, last), 2e-5, MLSTM_GRADIENTS);
        }),
        { numRuns: 15, seed: 5 },
      );
    });

    test.each(['slstm', 'lstm'] as const)('%s', async (cell) => {
      await assert(
        asyncProperty(cuts, async ([first, second]) => {
          const T = first! + second!;
          const p = cellProblem(cell, [1, T, 2, 7], { state: true });
          const [dh, dstate] = [random('dh', T * 14), random('dstate', statesOf(cell) * 14)];
          const part = (from: number, to: number, state: Float64Array | null): CellProblem => ({
            ...{ ...p, sizes: [1, to - from, 2, 7], state },
            gates: p.gates.map((x) => slice(x, T, from, to)),
          });
          const head = part(0, first!, p.state);
          const [, carried] = await cellForward(cpu, head);
          const tail = await cellBackward(cpu, part(first!, T, carried!), slice(dh, T, first!, T), dstate);
          const front = await cellBackward(cpu, head, slice(dh, T, 0, first!), tail[6]!);
          const joined = front.map((x, k) => (k < 4 ? join(x, tail[k]!) : k < 6 ? sum(x, tail[k]!) : x));
          expectClose(joined, await cellBackward(reference, p, dh, dstate), 1e-5, CELL_GRADIENTS);
        }),
        { numRuns: 15, seed: 5 },
      );
    });
  });

  test('sizes that cannot be are named', async () => {
    const p = mlstmProblem([1, 3, 1, 4, 4]);
    await expect(mlstmForward(cpu, p, 0)).rejects.toThrow(/mlstm: .*L must be positive, got .*L=0/);
    const cell = cellProblem('slstm', [1, 2, 1, 4]);
    await expect(cellForward(cpu, { ...cell, sizes: [1, 2, 0, 4] })).rejects.toThrow(/slstm: .*NH.*got .*NH=0/);
  });
});

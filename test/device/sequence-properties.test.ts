/**
 * @file What holds for every sequence kernel whatever the numbers: a sequence cut anywhere with the state carried is the
 * sequence; documents packed into a row are the documents apart; the mLSTM step is the mLSTM.
 */
import { array, assert, asyncProperty, boolean, integer } from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { relativeRms } from '../support/compare.js';
import { cpuOrReason } from '../support/cpu.js';
import type { CellResult, SequenceCell } from '../support/sequence-cells.js';
import {
  MLSTM_SIZES,
  mlstmBySequence,
  mlstmByStep,
  mlstmVariants,
  randomInputs,
  sequenceCells,
  sliceTime,
} from '../support/sequence-cells.js';

const cpu = cpuOrReason();
// The state is float32 on cpu and is rounded where a chunk ends, which another cut moves; see tolerances.ts.
const devices = [
  { name: 'reference', device: createReferenceDevice(), tolerance: 1e-12, skipped: false },
  {
    name: typeof cpu === 'string' ? `cpu (skipped: ${cpu})` : 'cpu',
    device: cpu as Device,
    tolerance: 1e-5,
    skipped: typeof cpu === 'string',
  },
];

/** RMS(error) / RMS(expected), where infinities that agree are no error: m of an empty state is -infinity. */
function gap(actual: Float64Array, expected: Float64Array): number {
  const isSameInfinity = (x: number, e: number): boolean => x === expected[e] && !Number.isFinite(x);
  const [a, b] = [actual, expected].map((x) => x.map((value, e) => (isSameInfinity(actual[e]!, e) ? 0 : value)));
  return relativeRms(a!, b!);
}

function expectSame(actual: CellResult, expected: CellResult, tolerance: number): void {
  expect(gap(actual.h, expected.h), 'h').toBeLessThan(tolerance);
  actual.state.forEach((state, s) => expect(gap(state, expected.state[s]!), `state ${s}`).toBeLessThan(tolerance));
}

/** Runs the pieces of a sequence one after another and puts their outputs together again. */
async function inPieces(
  device: Device,
  cell: SequenceCell,
  inputs: Float64Array[],
  ends: readonly number[],
  B: number,
  T: number,
): Promise<CellResult> {
  const h = new Float64Array(B * T * cell.width);
  let state: CellResult['state'] | null = null;
  let from = 0;
  for (const to of ends) {
    const piece = inputs.map((x, k) => sliceTime(x, B, T, cell.inputs[k]!, from, to));
    const result: CellResult = await cell.run(device, piece, state, null, B, to - from);
    for (let b = 0; b < B; b++) {
      const row = result.h.subarray(b * (to - from) * cell.width, (b + 1) * (to - from) * cell.width);
      h.set(row, (b * T + from) * cell.width);
    }
    state = result.state;
    from = to;
  }
  return { h, state: state! };
}

/** A length, and where to cut it: lengths of pieces, none empty. */
const pieces = array(integer({ min: 1, max: 23 }), { minLength: 1, maxLength: 5 });
const ends = (lengths: readonly number[]): number[] =>
  lengths.map((_, k) => lengths.slice(0, k + 1).reduce((a, b) => a + b));
const RUNS = { numRuns: 20, seed: 7 };

describe.each(devices)('$name', ({ device, tolerance, skipped }) => {
  describe.each(sequenceCells)('$name', (cell) => {
    test.skipIf(skipped)('cut anywhere with the state carried is the whole', async () => {
      device.poison = true;
      await assert(
        asyncProperty(pieces, integer({ min: 1, max: 3 }), async (lengths, B) => {
          const T = ends(lengths).at(-1)!;
          const inputs = randomInputs(cell, `cut ${lengths.join()} ${B}`, B, T);
          const whole = await cell.run(device, inputs, null, null, B, T);
          expectSame(await inPieces(device, cell, inputs, ends(lengths), B, T), whole, tolerance);
        }),
        RUNS,
      );
    });

    test.skipIf(skipped)('documents packed into a row are the documents apart', async () => {
      device.poison = true;
      await assert(
        asyncProperty(pieces, boolean(), async (lengths, carriesState) => {
          const T = ends(lengths).at(-1)!;
          const inputs = randomInputs(cell, `pack ${lengths.join()}`, 1, T);
          // A state that the first document must not see, since it begins with a reset.
          const before = carriesState ? (await cell.run(device, inputs, null, null, 1, T)).state : null;
          const starts = [0, ...ends(lengths).slice(0, -1)];
          const reset = Uint8Array.from({ length: T }, (_, t) => (starts.includes(t) ? 1 : 0));
          const packed = await cell.run(device, inputs, before, reset, 1, T);
          for (const [d, from] of starts.entries()) {
            const to = from + lengths[d]!;
            const own = inputs.map((x, k) => sliceTime(x, 1, T, cell.inputs[k]!, from, to));
            const apart = await cell.run(device, own, null, null, 1, to - from);
            const h = sliceTime(packed.h, 1, T, cell.width, from, to);
            expectSame({ h, state: to === T ? packed.state : [] }, apart, tolerance);
          }
        }),
        RUNS,
      );
    });
  });

  test.skipIf(skipped).each(mlstmVariants)('the mLSTM step is the mLSTM: %o', async (variant) => {
    const [B, T] = [2, 37];
    const [bySequence, byStep] = [mlstmBySequence(variant), mlstmByStep(...MLSTM_SIZES, variant)];
    const inputs = randomInputs(bySequence, 'step', B, T);
    const whole = await bySequence.run(device, inputs, null, null, B, T);
    expectSame(await byStep.run(device, inputs, null, null, B, T), whole, tolerance);
    // And the step goes on from a state that the sequence left.
    expectSame(
      await byStep.run(device, inputs, whole.state, null, B, T),
      await bySequence.run(device, inputs, whole.state, null, B, T),
      tolerance,
    );
  });
});

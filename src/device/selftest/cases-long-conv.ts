/**
 * @file Problems for the long convolution: lengths around powers of two, filters shorter and longer than the sequence,
 * documents of many lengths in a row, both directions.
 */
import type { BufferValue, Problem } from './problem.js';
import { CaseRandom, byteValue, output } from './problem.js';

interface LongConvOptions {
  skip?: boolean;
  /** Probability that a document begins at a step; 0 for no resets. */
  reset?: number;
  reversed?: boolean;
  unwanted?: readonly string[];
}

const borders = (random: CaseRandom, B: number, T: number, rate: number): BufferValue =>
  byteValue(Array.from({ length: B * T }, (_, at) => (at === 0 || random.uniform() < rate ? 1 : 0)));

function longConv(B: number, T: number, D: number, K: number, options: LongConvOptions = {}): Problem {
  const { skip = false, reset = 0, reversed = false, unwanted = [] } = options;
  const flags = [skip && 'skip', reset && `reset=${reset}`, reversed && 'reversed', ...unwanted.map((d) => `no ${d}`)];
  const name = `B=${B} T=${T} D=${D} K=${K} ${flags.filter(Boolean).join(' ')}`.trim();
  const random = new CaseRandom(name);
  const values = {
    y: output(B * T * D),
    x: random.floats(B * T * D),
    kernel: random.floats(K * D, 0.5),
    skip: skip ? random.floats(D) : null,
    reset: reset ? borders(random, B, T, reset) : null,
  };
  const sizes = { B, T, D, K, reversed };
  return { name, forward: 'longConvForward', backward: 'longConvBackward', values: { ...values, ...sizes }, unwanted };
}

/** Every problem of the long convolution. */
export const longConvProblems = (): Problem[] => [
  longConv(2, 19, 33, 19, { skip: true }),
  longConv(2, 19, 33, 5, { skip: true, reset: 0.15, reversed: true }),
  longConv(1, 1, 5, 1, { skip: true }),
  longConv(2, 1, 3, 9),
  longConv(2, 0, 3, 4, { skip: true }),
  longConv(3, 7, 1, 50, { reset: 0.3 }),
  longConv(2, 128, 17, 128),
  longConv(1, 129, 40, 129, { skip: true, reversed: true }),
  longConv(3, 200, 9, 300, { skip: true }),
  // Filter and sequence share a transform shorter than the sequence.
  longConv(2, 300, 5, 150, { skip: true }),
  longConv(2, 300, 5, 150, { reversed: true }),
  longConv(1, 700, 3, 33),
  // Documents of all lengths: some by direct sums, some by transforms of several lengths.
  longConv(3, 400, 19, 400, { skip: true, reset: 0.01 }),
  longConv(2, 400, 19, 130, { skip: true, reset: 0.01, reversed: true }),
  longConv(2, 90, 6, 90, { skip: true, unwanted: ['dkernel', 'dskip'] }),
  longConv(2, 90, 6, 90, { skip: true, unwanted: ['dx', 'dskip'] }),
  longConv(1, 1500, 2, 1500, { skip: true }),
];

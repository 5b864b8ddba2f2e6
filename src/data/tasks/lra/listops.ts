/**
 * @file ListOps of the Long Range Arena (Nangia & Bowman 2018, arXiv 1804.06028; Tay et al. 2020, arXiv 2011.04006): the value
 * of a nested prefix expression over digits. Made in full from its rules; nothing is read from disk.
 *
 * Rules, as in the published generator: the root is at depth 1. A node is a digit with probability 0.75, and always at
 * depth 10; else an operator, uniform in MIN, MAX, MED, SM, with 2 to 10 arguments, uniform. A digit is one token; an operator
 * with its closing bracket is two. A tree counts if it has more than 500 tokens and less than 2000. MED is the median, of an
 * even number of arguments the mean of the middle two without its fraction; SM is the sum modulo 10.
 *
 * The published sets are cut out of one set of unique trees. Here example n is decided by its number alone: which of the
 * three sets a tree belongs to is decided by a hash of its tokens, so no tree is in two of them; that one set has a tree twice
 * is possible, and with more than 500 tokens about as likely as guessing 400 digits.
 */
import * as z from 'zod';
import { fold } from '../../../tensor/random.js';
import { defineTask, generatedSet } from '../definition.js';
import type { Draws } from '../draws.js';
import type { Example, Task } from '../task.js';

const count = () => z.number().int().min(1);

const options = z.strictObject({
  moreThan: z.number().int().min(0).default(500).describe('A sequence has more tokens than this.'),
  lessThan: count().default(2000).describe('A sequence has fewer tokens than this.'),
  maxDepth: count().default(10).describe('At this depth, counted from 1, there are only digits.'),
  maxArguments: count().min(2).default(10).describe('Arguments of an operator at most; at least 2.'),
  trainSize: count().default(96_000).describe('Sequences to train on.'),
  validationSize: count().default(2000).describe('Sequences to validate on, and as many to test on.'),
});

type Options = z.output<typeof options>;
type Part = 'train' | 'validation' | 'test';

const DIGIT_PROBABILITY = 0.75;
const DIGITS = 10;
const OPERATORS = ['[MIN', '[MAX', '[MED', '[SM'] as const;
/** Token 0 fills up; 1..10 are the digits. The published pipeline has tokens for unknown and end, which never come. */
const LETTERS = ['_', ...Array.from({ length: DIGITS }, (_, digit) => `${digit}`), ...OPERATORS, ']'];
const [FIRST_DIGIT, FIRST_OPERATOR, CLOSE] = [1, 1 + DIGITS, 1 + DIGITS + OPERATORS.length];
/** Share of all trees that is validated on, and of those that are tested on: more are less to throw away. */
const HELD_OUT = 0.25;
const TRIES = 1_000_000;

const OPERATIONS: readonly ((values: readonly number[]) => number)[] = [
  (values) => Math.min(...values),
  (values) => Math.max(...values),
  median,
  (values) => values.reduce((sum, value) => sum + value, 0) % DIGITS,
];

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  return Math.floor((sorted[Math.floor(half)]! + sorted[Math.ceil(half) - 1]!) / 2);
}

/** Writes the tokens of a random tree to `tokens` and returns its value; NaN when it has `lessThan` tokens or more. */
function drawTree(draws: Draws, depth: number, tokens: number[], limits: Options): number {
  if (tokens.length >= limits.lessThan) return NaN;
  if (depth >= limits.maxDepth || draws.uniform() < DIGIT_PROBABILITY) {
    const digit = draws.below(DIGITS);
    tokens.push(FIRST_DIGIT + digit);
    return digit;
  }
  const operator = draws.below(OPERATORS.length);
  tokens.push(FIRST_OPERATOR + operator);
  const values: number[] = [];
  for (let left = draws.between(2, limits.maxArguments); left > 0; left--) {
    const value = drawTree(draws, depth + 1, tokens, limits);
    if (Number.isNaN(value)) return value;
    values.push(value);
  }
  tokens.push(CLOSE);
  return OPERATIONS[operator]!(values);
}

/** The part that a tree belongs to. */
function partOf(tokens: readonly number[]): Part {
  const share = fold([0, 0], String.fromCharCode(...tokens))[0] / 2 ** 32;
  if (share < HELD_OUT) return 'validation';
  return share < 2 * HELD_OUT ? 'test' : 'train';
}

function drawExample(draws: Draws, part: Part, chosen: Options): Example {
  for (let n = 0; n < TRIES; n++) {
    const tokens: number[] = [];
    const label = drawTree(draws, 1, tokens, chosen);
    const T = tokens.length;
    if (Number.isNaN(label) || T <= chosen.moreThan || T >= chosen.lessThan || partOf(tokens) !== part) continue;
    return { T, tokens: Int32Array.from(tokens), label };
  }
  throw new RangeError(
    `listops: of ${TRIES} trees none had more than ${chosen.moreThan} and less than ${chosen.lessThan} tokens; ` +
      'widen the range, or raise maxDepth or maxArguments',
  );
}

function create(chosen: Options): Task {
  const { moreThan, lessThan, trainSize, validationSize } = chosen;
  if (lessThan - moreThan < 2) {
    throw new RangeError(`listops: no length is above moreThan = ${moreThan} and below lessThan = ${lessThan}`);
  }
  const make = (part: Part) => (draws: Draws) => drawExample(draws, part, chosen);
  return {
    name: 'listops',
    input: { kind: 'tokens', vocabSize: LETTERS.length },
    output: { kind: 'class', classes: DIGITS },
    maxLength: lessThan - 1,
    chance: 1 / DIGITS,
    train: (key) => generatedSet('train', trainSize, key, make('train')),
    validation: (key) => generatedSet('validation', validationSize, key, make('validation')),
    tests: (key) => [generatedSet('test', validationSize, key, make('test'))],
    draw: ({ tokens, label }) => `${[...tokens!].map((token) => LETTERS[token]).join(' ')}  ->  ${label}`,
  };
}

export const listopsTask = defineTask({
  name: 'listops',
  summary: 'the value of a nested expression of minima, maxima, medians and sums (Long Range Arena, arXiv 2011.04006)',
  options,
  presets: { paper: {}, small: { moreThan: 10, lessThan: 100, trainSize: 20_000, validationSize: 500 } },
  create,
});

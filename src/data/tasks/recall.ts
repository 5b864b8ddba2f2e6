/**
 * @file Multi-query associative recall, MQAR (Arora et al. 2023, arXiv 2312.04927; arXiv 2405.04517 figures 5, 14-16): pairs
 * of key and value, then keys again among blanks; at each the model says the value.
 *
 * Rules, as in the published generator: keys are 1..V/2-1, values V/2..V-1, each without replacement within a sequence; the
 * first 2 KV tokens are k v k v ...; the remaining places are slots of two tokens, of which the first may hold a query; a slot
 * j (from 1) is drawn with weight 0.01 j^-0.99, without replacement; blanks are token 0, or random tokens. Every key is asked
 * once; where there are fewer slots than keys, as at (756, 256), which the published generator refuses, as many random keys
 * are asked as there are slots.
 */
import * as z from 'zod';
import { fold } from '../../tensor/random.js';
import { defineTask, generatedSet } from './definition.js';
import type { Draws } from './draws.js';
import type { Example, Task } from './task.js';

const options = z.strictObject({
  contextLength: z.number().int().min(4).default(64).describe('Tokens of a sequence, an even number.'),
  pairs: z.number().int().min(1).default(4).describe('Pairs of key and value, KV.'),
  vocabSize: z.number().int().min(4).default(8192).describe('Tokens: half are keys, half are values.'),
  blanks: z.enum(['zero', 'random']).default('zero').describe('What stands where no key is asked for.'),
  trainSize: z.number().int().min(1).default(100_000).describe('Sequences to train on.'),
  validationSize: z.number().int().min(1).default(3000).describe('Sequences to validate on.'),
  testLengths: z
    .array(z.number().int().min(4))
    .default([])
    .describe('Longer sequences to test on, with as many pairs: experiment 3 of the paper.'),
});

type Options = z.output<typeof options>;

/** The weight of slot j, from 0: queries come soon after the pairs more often than late. */
const slotWeight = (j: number): number => 0.01 * (j + 1) ** -0.99;

function drawExample(draws: Draws, { pairs, vocabSize: V, blanks }: Options, T: number): Example {
  const half = Math.floor(V / 2);
  const keys = draws.distinct(half - 1, pairs).map((key) => key + 1);
  const values = draws.distinct(V - half, pairs).map((value) => value + half);
  const tokens = new Int32Array(T);
  const targets = new Int32Array(T).fill(-1);
  if (blanks === 'random') for (let t = 2 * pairs; t < T; t++) tokens[t] = draws.below(V);
  keys.forEach((key, k) => tokens.set([key, values[k]!], 2 * k));
  const slots = (T - 2 * pairs) / 2;
  const weights = Array.from({ length: slots }, (_, j) => slotWeight(j));
  for (const pair of draws.distinct(pairs, Math.min(pairs, slots))) {
    const slot = draws.weighted(weights);
    weights[slot] = 0;
    tokens[2 * (pairs + slot)] = keys[pair]!;
    targets[2 * (pairs + slot)] = values[pair]!;
  }
  return { T, tokens, targets };
}

function create(chosen: Options): Task {
  const { contextLength, pairs, vocabSize, trainSize, validationSize, testLengths } = chosen;
  const longest = Math.max(contextLength, ...testLengths);
  for (const length of [contextLength, ...testLengths]) {
    if (length % 2 !== 0 || length <= 2 * pairs) {
      throw new RangeError(`recall: a length must be even and above ${2 * pairs} for ${pairs} pairs, got ${length}`);
    }
  }
  if (Math.floor(vocabSize / 2) - 1 < pairs) {
    throw new RangeError(`recall: ${pairs} pairs need at least ${2 * pairs + 2} tokens, vocabSize is ${vocabSize}`);
  }
  const make = (T: number) => (draws: Draws) => drawExample(draws, chosen, T);
  return {
    name: 'recall',
    input: { kind: 'tokens', vocabSize },
    output: { kind: 'tokens', vocabSize },
    maxLength: longest,
    chance: 0,
    train: (key) => generatedSet('train', trainSize, key, make(contextLength)),
    validation: (key) => generatedSet('validation', validationSize, key, make(contextLength)),
    tests: (key) =>
      testLengths.map((T) => generatedSet(`length ${T}`, Math.min(validationSize, 512), fold(key, T), make(T))),
    draw: ({ tokens, targets }) =>
      [...tokens!].map((token, t) => (targets![t] === -1 ? `${token}` : `${token}->${targets![t]}`)).join(' '),
  };
}

export const recallTask = defineTask({
  name: 'recall',
  summary: 'multi-query associative recall: the value that belongs to a key seen before (arXiv 2312.04927)',
  options,
  presets: { paper: {}, small: { vocabSize: 512, validationSize: 512 } },
  create,
});

/**
 * @file What the formal languages of arXiv 2405.04517 (figures 4 and 12, appendix B.1.1) have in common: a string of random
 * length with the places that are asked for, sets of short strings to train on and of long ones to test on.
 */
import * as z from 'zod';
import { fold } from '../../../tensor/random.js';
import { defineTask, generatedSet, type TaskDefinition } from '../definition.js';
import type { Draws } from '../draws.js';
import type { Example, Task } from '../task.js';

const length = () => z.number().int().min(3);

export const languageOptions = z.strictObject({
  minLength: length().default(3).describe('Symbols of the shortest string to train on, the answer included.'),
  maxLength: length().default(40).describe('Symbols of the longest string to train on; lengths are uniform.'),
  testLengths: z
    .array(z.tuple([length(), length()]))
    .default([
      [40, 256],
      [41, 64],
      [65, 128],
      [129, 256],
    ])
    .describe('Ranges of lengths to test on, from and to.'),
  validationSize: z.number().int().min(1).default(8192).describe('Strings to validate on.'),
  testSize: z.number().int().min(1).default(8192).describe('Strings of each test set.'),
});

type LanguageOptions = z.output<typeof languageOptions>;

const languagePresets = { paper: {}, small: { validationSize: 512, testSize: 1024 } };

/** A string with its answers: what stands at an index of `answers` is asked for and not shown. */
export interface Sentence {
  /** Symbols, 1..V-1; what stands at an index that is asked for does not matter. */
  readonly symbols: readonly number[];
  /** The right symbols by index. */
  readonly answers: ReadonlyMap<number, number>;
}

export interface Language {
  readonly name: string;
  readonly summary: string;
  readonly vocabSize: number;
  /** Accuracy of guessing (arXiv 2405.04517 appendix B.1.1). */
  readonly chance: number;
  /** A string of `length` symbols, or the nearest length that the language has. */
  sentence(draws: Draws, length: number): Sentence;
  /** The symbols as people write them, from symbol 0 on; default: numbers. */
  readonly letters?: readonly string[];
}

/**
 * Inputs are the string without its last symbol, targets the string without its first: what is asked for at index n is said
 * at step n - 1. A symbol that is asked for is shown as 0, so that later answers do not depend on earlier ones.
 */
export function exampleOf({ symbols, answers }: Sentence): Example {
  const T = symbols.length - 1;
  const tokens = Int32Array.from({ length: T }, (_, t) => (answers.has(t) ? 0 : symbols[t]!));
  const targets = Int32Array.from({ length: T }, (_, t) => answers.get(t + 1) ?? -1);
  return { T, tokens, targets };
}

function createLanguage(language: Language, options: LanguageOptions): Task {
  const { minLength, maxLength, testLengths, validationSize, testSize } = options;
  for (const [from, to] of [[minLength, maxLength], ...testLengths]) {
    if (from! > to!) throw new RangeError(`${language.name}: lengths from ${from} to ${to} are none`);
  }
  const { vocabSize, chance, letters } = language;
  const make = (from: number, to: number) => (draws: Draws) =>
    exampleOf(language.sentence(draws, draws.between(from, to)));
  const letter = (symbol: number): string => letters?.[symbol] ?? `${symbol}`;
  return {
    name: language.name,
    input: { kind: 'tokens', vocabSize },
    output: { kind: 'tokens', vocabSize },
    maxLength: Math.max(maxLength, ...testLengths.map(([, to]) => to)),
    chance,
    train: (key) => generatedSet('train', Infinity, key, make(minLength, maxLength)),
    validation: (key) => generatedSet('validation', validationSize, key, make(minLength, maxLength)),
    tests: (key) =>
      testLengths.map(([from, to]) =>
        generatedSet(`test ${from}-${to}`, testSize, fold(fold(key, from), to), make(from, to)),
      ),
    draw: ({ tokens, targets }) => {
      const shown = [...tokens!].map(letter).join(' ');
      const asked = [...targets!].map((target) => (target === -1 ? '.' : letter(target))).join(' ');
      return `${shown}\n${asked}`;
    },
  };
}

/** The task of a language. */
export const languageTask = (language: Language): TaskDefinition<typeof languageOptions> =>
  defineTask({
    name: language.name,
    summary: language.summary,
    options: languageOptions,
    presets: languagePresets,
    create: (options) => createLanguage(language, options),
  });

/** The task of a language with options of its own, which decide its strings. */
export function languageTaskWith<Extra extends Record<string, z.ZodType>>(
  facts: Omit<Language, 'sentence'>,
  extra: Extra,
  sentenceOf: (options: z.output<z.ZodObject<Extra>>) => Language['sentence'],
): TaskDefinition {
  const own = z.object(extra);
  const all: z.ZodObject = languageOptions.extend(extra);
  return defineTask({
    name: facts.name,
    summary: facts.summary,
    options: all,
    presets: languagePresets,
    create: (options) =>
      createLanguage({ ...facts, sentence: sentenceOf(own.parse(options)) }, options as LanguageOptions),
  });
}

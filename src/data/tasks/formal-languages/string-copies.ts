/**
 * @file Strings that are said again after [ACT], in another order or in part: reverse string (deterministic context-free),
 * odds first (context-sensitive), repetition and set. Symbol 1 is [ACT], the others are the alphabet.
 */
import type { Draws } from '../draws.js';
import { languageTask, type Sentence } from './language.js';

const ACT = 1;
const FIRST = 2;
const DIGITS = 10;
const LETTERS = ['_', '[ACT]', ...Array.from({ length: DIGITS }, (_, k) => `${k}`)];
const DISTINCT = 126;

/** The string, [ACT], the answer. */
function withAnswer(string: readonly number[], answer: readonly number[]): Sentence {
  const from = string.length + 1;
  return { symbols: [...string, ACT, ...answer], answers: new Map(answer.map((symbol, k) => [from + k, symbol])) };
}

/** A language whose answer is the string in another order; of an even length one symbol less is used. */
const reordered = (name: string, what: string, answerOf: (string: readonly number[]) => number[]) =>
  languageTask({
    name,
    summary: `${what} (arXiv 2405.04517 fig. 12)`,
    vocabSize: LETTERS.length,
    chance: 1 / DIGITS,
    letters: LETTERS,
    sentence(draws, length) {
      const string = Array.from({ length: Math.floor((length - 1) / 2) }, () => FIRST + draws.below(DIGITS));
      return withAnswer(string, answerOf(string));
    },
  });

export const reverseStringTask = reordered('reverseString', 'a string of digits from its end to its start', (string) =>
  string.toReversed(),
);

export const repetitionTask = reordered('repetition', 'a string of digits once more', (string) => [...string]);

/** t1 t3 ... t2 t4 ..., as the paper has it; the code of arXiv 2207.02098 says t2 t4 ... first, against its own text. */
export const oddsFirstTask = reordered('oddsFirst', 'every other digit of a string, then those left out', (string) => [
  ...string.filter((_, k) => k % 2 === 0),
  ...string.filter((_, k) => k % 2 === 1),
]);

/** Symbols are drawn until one more, with its place in the answer if it is new, would be too many. */
function drawSet(draws: Draws, length: number): Sentence {
  const string: number[] = [];
  const seen = new Set<number>();
  for (;;) {
    const symbol = FIRST + draws.below(DISTINCT);
    const distinct = seen.has(symbol) ? seen.size : seen.size + 1;
    if (string.length + 2 + distinct > length) return withAnswer(string, [...seen]);
    string.push(symbol);
    seen.add(symbol);
  }
}

/** The different symbols of a string in the order in which they first came; strings are at most one symbol short. */
export const setTask = languageTask({
  name: 'set',
  summary: 'the different symbols of a string in the order of their first occurrence (arXiv 2405.04517 fig. 12)',
  vocabSize: FIRST + DISTINCT,
  chance: 1 / DISTINCT,
  letters: ['_', '[ACT]'],
  sentence: drawSet,
});

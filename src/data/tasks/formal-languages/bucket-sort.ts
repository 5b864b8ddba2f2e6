/** @file Bucket sort: a string of digits in ascending order (context-sensitive). */
import { languageTask } from './language.js';

const DIGITS = 10;

/**
 * Symbols 1..10 are the digits; there is no [ACT] in the vocabulary of the paper (11), so the sorted string follows the string
 * at once: its first symbol is asked for at the last digit, the others at blanks. Lengths are even; of an odd one the length
 * is one less.
 */
export const bucketSortTask = languageTask({
  name: 'bucketSort',
  summary: 'a string of digits, sorted (arXiv 2405.04517 fig. 4)',
  vocabSize: 1 + DIGITS,
  chance: 1 / DIGITS,
  letters: ['_', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
  sentence(draws, length) {
    const half = Math.floor(length / 2);
    const string = Array.from({ length: half }, () => 1 + draws.below(DIGITS));
    const sorted = string.toSorted((a, b) => a - b);
    return { symbols: [...string, ...sorted], answers: new Map(sorted.map((symbol, k) => [half + k, symbol])) };
  },
});

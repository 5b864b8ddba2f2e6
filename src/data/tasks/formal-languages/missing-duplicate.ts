/** @file Missing duplicate: the digit that is hidden where a string comes for the second time (context-sensitive). */
import { languageTask } from './language.js';

const DIGITS = 9;
const [MISSING, FIRST] = [1, 2];

/**
 * The string, the string again with [MIS] in place of one digit, that digit. The place is uniform in the repetition
 * (arXiv 2207.02098 hides one in either half). Lengths are odd; of an even one the length is one less.
 */
export const missingDuplicateTask = languageTask({
  name: 'missingDuplicate',
  summary: 'the digit that is hidden in the repetition of a string (arXiv 2405.04517 fig. 4)',
  vocabSize: FIRST + DIGITS,
  chance: 1 / DIGITS,
  letters: ['_', '[MIS]', '0', '1', '2', '3', '4', '5', '6', '7', '8'],
  sentence(draws, length) {
    const string = Array.from({ length: Math.floor((length - 1) / 2) }, () => FIRST + draws.below(DIGITS));
    const hidden = draws.below(string.length);
    const symbols = [...string, ...string.with(hidden, MISSING), 0];
    return { symbols, answers: new Map([[2 * string.length, string[hidden]!]]) };
  },
});

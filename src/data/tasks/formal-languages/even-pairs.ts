/**
 * @file Even pairs: whether the pairs ab and ba in a string of a and b are even in number, which is whether its first and
 * its last symbol are the same (regular).
 */
import { languageTask } from './language.js';

/** Symbols a = 1 and b = 2; the last symbol is the answer, a for even. A string of length 3 is the shortest with a pair. */
export const evenPairsTask = languageTask({
  name: 'evenPairs',
  summary: 'whether a string of a and b ends as it begins (arXiv 2405.04517 fig. 4)',
  vocabSize: 3,
  chance: 1 / 2,
  letters: ['_', 'a', 'b'],
  sentence(draws, length) {
    const symbols = Array.from({ length }, () => 1 + draws.below(2));
    return { symbols, answers: new Map([[length - 1, symbols[0] === symbols[length - 2] ? 1 : 2]]) };
  },
});

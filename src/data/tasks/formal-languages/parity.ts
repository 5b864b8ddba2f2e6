/** @file Parity: whether a string of a and b has an even or an odd number of b (regular). */
import { languageTask } from './language.js';

/** Symbols a = 1 and b = 2; the last symbol is the answer, b for odd. */
export const parityTask = languageTask({
  name: 'parity',
  summary: 'whether the number of b in a string of a and b is odd (arXiv 2405.04517 fig. 4)',
  vocabSize: 3,
  chance: 1 / 2,
  letters: ['_', 'a', 'b'],
  sentence(draws, length) {
    const symbols = Array.from({ length }, () => 1 + draws.below(2));
    const odd = symbols.slice(0, -1).filter((symbol) => symbol === 2).length % 2;
    return { symbols, answers: new Map([[length - 1, 1 + odd]]) };
  },
});

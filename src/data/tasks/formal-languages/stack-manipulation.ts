/** @file Stack manipulation: what is on a stack after pushes and pops (deterministic context-free). */
import type { Draws } from '../draws.js';
import { languageTask, type Sentence } from './language.js';

const SYMBOLS = 4;
const LETTERS = ['_', '[ACT]', 'POP', 'ST1', 'ST2', 'ST3', 'ST4', 'PS1', 'PS2', 'PS3', 'PS4'];
const [ACT, POP, STACKED, PUSH] = [1, 2, 3, 3 + SYMBOLS];

/**
 * A stack from bottom to top (ST), instructions (PS push, POP), [ACT], the stack that is left from bottom to top, as the
 * paper has it (arXiv 2207.02098 answers from the top). A pop takes one symbol of the string and one of the answer away from
 * the other, so a string has 2 n + 1 symbols where n were on the stack or are pushed. Of these n the first 1..n are there
 * from the start; then 0..n-1 pops come among the pushes in random order, but never on an empty stack. So each length of the
 * answer, 1..n, is equally likely.
 */
function drawStack(draws: Draws, length: number): Sentence {
  const n = Math.floor((length - 1) / 2);
  const initial = draws.between(1, n);
  let [pushes, pops] = [n - initial, draws.below(n)];
  const stack = Array.from({ length: initial }, () => draws.below(SYMBOLS));
  const symbols = stack.map((symbol) => STACKED + symbol);
  while (pushes + pops > 0) {
    // An empty stack with pops to come has pushes to come, since there are fewer pops than symbols.
    if (stack.length > 0 && draws.below(pushes + pops) < pops) {
      pops--;
      stack.pop();
      symbols.push(POP);
    } else {
      pushes--;
      const symbol = draws.below(SYMBOLS);
      stack.push(symbol);
      symbols.push(PUSH + symbol);
    }
  }
  const answer = stack.map((symbol) => STACKED + symbol);
  const from = symbols.length + 1;
  return { symbols: [...symbols, ACT, ...answer], answers: new Map(answer.map((symbol, k) => [from + k, symbol])) };
}

export const stackManipulationTask = languageTask({
  name: 'stackManipulation',
  summary: 'what is left on a stack after pushes and pops (arXiv 2405.04517 fig. 12)',
  vocabSize: LETTERS.length,
  chance: 1 / SYMBOLS,
  letters: LETTERS,
  sentence: drawStack,
});

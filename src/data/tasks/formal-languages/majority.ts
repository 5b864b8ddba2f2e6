/** @file Majority and majority count: the symbol that comes most often in a string, and how often that is. */
import type { Draws } from '../draws.js';
import { languageTask } from './language.js';

/** Symbols 1..63; blank is 0. */
const SYMBOLS = 63;
const facts = { vocabSize: 1 + SYMBOLS, chance: 1 / SYMBOLS, letters: ['_'] };

const drawString = (draws: Draws, length: number): number[] => Array.from({ length }, () => 1 + draws.below(SYMBOLS));

/** How often each symbol comes, by symbol. */
function countsOf(string: readonly number[]): number[] {
  const counts = Array.from({ length: 1 + SYMBOLS }, () => 0);
  for (const symbol of string) counts[symbol]! += 1;
  return counts;
}

/**
 * One symbol comes more often than every other: where several of the uniform string come equally often, one of them, drawn
 * at random, is written over a random other symbol. So the answer is one and uniform, and guessing is right in 1 of 63. (How
 * the paper resolves ties is not known; in 40 uniform symbols they are the rule.)
 */
export const majorityTask = languageTask({
  ...facts,
  name: 'majority',
  summary: 'the symbol that comes most often in a string (arXiv 2405.04517 fig. 4)',
  sentence(draws, length) {
    const string = drawString(draws, length - 1);
    const counts = countsOf(string);
    const most = Math.max(...counts);
    const tied = [...counts.keys()].filter((symbol) => counts[symbol] === most);
    const winner = tied[draws.below(tied.length)]!;
    if (tied.length > 1) {
      const others = [...string.keys()].filter((place) => string[place] !== winner);
      string[others[draws.below(others.length)]!] = winner;
    }
    return { symbols: [...string, 0], answers: new Map([[length - 1, winner]]) };
  },
});

/** Symbol n stands for the number n; a symbol that comes more than 63 times is said to come 63 times. */
export const majorityCountTask = languageTask({
  ...facts,
  name: 'majorityCount',
  summary: 'how often the most frequent symbol of a string comes (arXiv 2405.04517 fig. 4)',
  sentence(draws, length) {
    const string = drawString(draws, length - 1);
    const most = Math.max(...countsOf(string));
    return { symbols: [...string, 0], answers: new Map([[length - 1, Math.min(most, SYMBOLS)]]) };
  },
});

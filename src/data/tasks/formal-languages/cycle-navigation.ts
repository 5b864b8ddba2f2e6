/** @file Cycle navigation: where one stands on a cycle of five places after steps forward, back and none (regular). */
import { languageTask } from './language.js';

const PLACES = 5;
/** Symbols 1, 2, 3 are the moves STAY, +1, -1. */
const MOVES = [0, 1, -1];

/** Symbols 4..8 are the places P0..P4; the walk begins at P0, the last symbol is where it ends. */
export const cycleNavigationTask = languageTask({
  name: 'cycleNavigation',
  summary: 'the place on a cycle of five after moves of 0, +1 and -1 (arXiv 2405.04517 fig. 4)',
  vocabSize: 1 + MOVES.length + PLACES,
  chance: 1 / PLACES,
  letters: ['_', 'STAY', '+1', '-1', 'P0', 'P1', 'P2', 'P3', 'P4'],
  sentence(draws, length) {
    const moves = Array.from({ length: length - 1 }, () => draws.below(MOVES.length));
    const walked = moves.reduce((sum, move) => sum + MOVES[move]!, 0);
    const place = ((walked % PLACES) + PLACES) % PLACES;
    return { symbols: [...moves.map((move) => 1 + move), 0], answers: new Map([[length - 1, 4 + place]]) };
  },
});

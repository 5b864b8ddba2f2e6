/** @file Solve equation: the digit that stands behind x in an equation modulo five (deterministic context-free). */
import { drawExpression, MODULUS, symbolsOf } from './expression.js';
import { languageTask } from './language.js';

const LETTERS = ['_', '+', '-', '*', '=', '(', ')', 'x', '[ACT]', '0', '1', '2', '3', '4'];
const ACT = LETTERS.indexOf('[ACT]');
const ZERO = LETTERS.indexOf('0');
/** Symbols behind the expression: = result [ACT] answer. */
const REST = 4;

/**
 * expression = result [ACT] digit. In a random expression one digit is written as x: the first one from a random place on,
 * going on at the start behind the end. There is no multiplication, as in arXiv 2207.02098, so x has one solution: it comes
 * once, and a sum is a bijection of each of its terms. The vocabulary of the paper (14) has a symbol * that is never used.
 * The shortest string has 5 symbols.
 */
export const solveEquationTask = languageTask({
  name: 'solveEquation',
  summary: 'the digit for which an equation modulo 5 with brackets holds (arXiv 2405.04517 fig. 4)',
  vocabSize: LETTERS.length,
  chance: 1 / MODULUS,
  letters: LETTERS,
  sentence(draws, wanted) {
    const length = Math.max(wanted, REST + 1);
    const { text, value } = drawExpression(draws, length - REST, '+-');
    let place = draws.below(text.length);
    while (!/\d/.test(text[place]!)) place = (place + 1) % text.length;
    const symbols = symbolsOf(`${text.slice(0, place)}x${text.slice(place + 1)}=${value}`, LETTERS);
    return { symbols: [...symbols, ACT, 0], answers: new Map([[length - 1, ZERO + Number(text[place])]]) };
  },
});

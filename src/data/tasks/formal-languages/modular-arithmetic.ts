/** @file Modular arithmetic without brackets: a sum of products of digits modulo five (regular). */
import { languageTask } from './language.js';

const MODULUS = 5;
/** Symbols 1, 2, 3, 4; digits are 5..9. */
const SIGNS = ['+', '-', '*', '='];
const [MINUS, TIMES, EQUALS] = [2, 3, 4];
const ZERO = 1 + SIGNS.length;

/** The value of digits with operators between them; products come before sums. Result 0..4. */
function evaluate(digits: readonly number[], operators: readonly number[]): number {
  let [sum, sign, product] = [0, 1, digits[0]!];
  operators.forEach((operator, k) => {
    if (operator === TIMES) {
      product = (product * digits[k + 1]!) % MODULUS;
      return;
    }
    sum += sign * product;
    sign = operator === MINUS ? -1 : 1;
    product = digits[k + 1]!;
  });
  sum += sign * product;
  return ((sum % MODULUS) + MODULUS) % MODULUS;
}

/**
 * digit operator digit ... digit = result: digits at even places, "=" last but one, so that lengths are odd; of an even one
 * the length is one less, as in the published generator.
 */
export const modularArithmeticTask = languageTask({
  name: 'modularArithmetic',
  summary: 'the value modulo 5 of digits with + - * between them, no brackets (arXiv 2405.04517 fig. 4)',
  vocabSize: ZERO + MODULUS,
  chance: 1 / MODULUS,
  letters: ['_', ...SIGNS, '0', '1', '2', '3', '4'],
  sentence(draws, length) {
    const terms = Math.floor((length - 1) / 2);
    const digits = Array.from({ length: terms }, () => draws.below(MODULUS));
    const operators = Array.from({ length: terms - 1 }, () => 1 + draws.below(3));
    const symbols = digits.flatMap((digit, k) => [ZERO + digit, operators[k] ?? EQUALS]);
    return { symbols: [...symbols, 0], answers: new Map([[2 * terms, ZERO + evaluate(digits, operators)]]) };
  },
});

/**
 * @file Random expressions with brackets and their values modulo five, as the tasks of Delétang et al. 2022
 * (arXiv 2207.02098) make them. Text in, text out; the tasks turn it into symbols.
 */
import type { Draws } from '../draws.js';

export const MODULUS = 5;

export interface Expression {
  /** Digits 0..4, + - * ( ). */
  readonly text: string;
  /** 0..4 */
  readonly value: number;
}

const modulo = (value: number): number => ((value % MODULUS) + MODULUS) % MODULUS;

/**
 * An expression of exactly `length` characters: up to four d, -d, (d), (-d); longer ones (left operator right), where the
 * length of the left side is uniform in 1 .. length - 4.
 * @param operators  such as "+-*"
 */
export function drawExpression(draws: Draws, length: number, operators: string): Expression {
  if (length <= 4) {
    const digit = draws.below(MODULUS);
    const [text, value] = [length % 2 === 1 ? `${digit}` : `-${digit}`, length % 2 === 1 ? digit : modulo(-digit)];
    return { text: length > 2 ? `(${text})` : text, value };
  }
  const leftLength = draws.between(1, length - 4);
  const left = drawExpression(draws, leftLength, operators);
  const operator = operators[draws.below(operators.length)]!;
  const right = drawExpression(draws, length - 3 - leftLength, operators);
  return { text: `(${left.text}${operator}${right.text})`, value: apply(operator, left.value, right.value) };
}

function apply(operator: string, left: number, right: number): number {
  if (operator === '*') return (left * right) % MODULUS;
  return modulo(operator === '+' ? left + right : left - right);
}

/** Characters as symbols: the place of each among `letters`. */
export const symbolsOf = (text: string, letters: readonly string[]): number[] =>
  [...text].map((character) => letters.indexOf(character));

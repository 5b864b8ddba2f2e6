/** @file Modular arithmetic with brackets: the value of a nested expression modulo five (deterministic context-free). */
import * as z from 'zod';
import { drawExpression, MODULUS, symbolsOf } from './expression.js';
import { languageTaskWith } from './language.js';

const LETTERS = ['_', '+', '-', '*', '=', '(', ')', '0', '1', '2', '3', '4'];
const ZERO = LETTERS.indexOf('0');

/** expression = result; the expression has two symbols less than the string. */
export const modularArithmeticBracketsTask = languageTaskWith(
  {
    name: 'modularArithmeticBrackets',
    summary: 'the value modulo 5 of an expression with brackets (arXiv 2405.04517 fig. 4)',
    vocabSize: LETTERS.length,
    chance: 1 / MODULUS,
    letters: LETTERS,
  },
  {
    multiplication: z
      .boolean()
      .default(true)
      .describe('Whether * is among the operators: so in arXiv 2207.02098, not in the code of arXiv 2411.12537.'),
  },
  ({ multiplication }) =>
    (draws, length) => {
      const { text, value } = drawExpression(draws, length - 2, multiplication ? '+-*' : '+-');
      return { symbols: [...symbolsOf(`${text}=`, LETTERS), 0], answers: new Map([[length - 1, ZERO + value]]) };
    },
);

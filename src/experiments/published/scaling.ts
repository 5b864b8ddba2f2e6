/**
 * @file The constants of the scaling law as they were published (arXiv 2510.02228). Numbers of others, to compare with;
 * nothing is computed from them here.
 */
import type { ScalingLaw } from '../scaling-law.js';

/** Read in the output of the authors' plotting notebook (certainty: read in that source). */
export const PUBLISHED_LAWS = {
  Transformer: { a: 14.445, b: 16.33, e: 0.0901, alpha: 0.645, beta: 0.626, gamma: 0.2532 },
  xLSTM: { a: 15.457, b: 16.526, e: 0.1768, alpha: 0.706, beta: 0.653, gamma: 0.2578 },
} as const satisfies Readonly<Record<string, ScalingLaw>>;

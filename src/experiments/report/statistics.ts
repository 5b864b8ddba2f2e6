/** @file Mean, spread and confidence interval over seeds. Nothing else. */

export interface Statistics {
  /** Number of values. */
  readonly count: number;
  readonly mean: number;
  /** Standard deviation of the values, with count - 1; NaN for one value. */
  readonly std: number;
  /** Half of the 95 % confidence interval of the mean, by Student's t; NaN for one value. */
  readonly ci95: number;
}

/** Quantiles 0.975 of Student's t for 1, 2, ... degrees of freedom. */
const T975 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11,
  2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/** Beyond the table by the expansion of Cornish and Fisher, right to 0.001 there. */
const studentT975 = (freedom: number): number => T975[freedom - 1] ?? 1.96 + 2.372 / freedom + 2.8 / freedom ** 2;

/** Of values that are all finite; an infinite one (a perplexity that overflowed) makes the mean infinite. */
export function statistics(values: readonly number[]): Statistics {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  if (count < 2 || !Number.isFinite(mean)) return { count, mean: count === 0 ? NaN : mean, std: NaN, ci95: NaN };
  const std = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1));
  return { count, mean, std, ci95: (studentT975(count - 1) * std) / Math.sqrt(count) };
}

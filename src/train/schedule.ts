/** @file The learning rate as a function of the step. */

export interface Schedule {
  readonly kind: 'cosine' | 'linear' | 'constant';
  /** Steps over which the rate rises linearly to its peak. */
  readonly warmupSteps: number;
  /** The rate at the last step over the peak. */
  readonly finalRatio: number;
}

/**
 * Learning rate of a step: peak * (step+1) / warmupSteps while warming up, then along the chosen curve to
 * peak * finalRatio at the last step (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts).
 * @param step   from 0
 * @param steps  number of steps of the whole run
 */
export function learningRateAt(schedule: Schedule, peak: number, step: number, steps: number): number {
  const { kind, warmupSteps, finalRatio } = schedule;
  if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, steps - 1 - warmupSteps));
  if (kind === 'constant') return peak;
  const shape = kind === 'linear' ? 1 - progress : 0.5 * (1 + Math.cos(Math.PI * progress));
  return peak * (finalRatio + (1 - finalRatio) * shape);
}

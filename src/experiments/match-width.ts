/**
 * @file The width at which a model has as many parameters as another one, found without allocating any.
 */
import { ConfigError } from '../model/check-config.js';

export interface MatchRule {
  /** Number of parameters wanted. */
  readonly target: number;
  /** Largest difference from the target, as a part of it. */
  readonly tolerance: number;
  /** Widths are multiples of it. */
  readonly step: number;
}

interface Candidate {
  readonly dim: number;
  readonly parameters: number;
}

/** Wider than this is not tried. */
const WIDEST = 65536;

/**
 * The width whose number of parameters is nearest to the target.
 * @param count  parameters of the model at a width; null where the width does not fit (heads do not divide it). It must
 *               not fall as the width grows.
 * @param what   the model, for the message
 * @throws ConfigError naming the nearest widths when none is within the tolerance.
 */
export function matchWidth(count: (dim: number) => number | null, rule: MatchRule, what: string): Candidate {
  const { target, tolerance, step } = rule;
  const known = new Map<number, number | null>();
  const at = (k: number): Candidate | null => {
    if (!known.has(k)) known.set(k, count(k * step));
    const parameters = known.get(k)!;
    return parameters === null ? null : { dim: k * step, parameters };
  };
  const last = Math.floor(WIDEST / step);
  const above = firstAbove(at, target, last);
  let below: Candidate | null = null;
  for (let k = above === null ? last : above.dim / step - 1; k >= 1 && below === null; k--) below = at(k);
  const found = [below, above].filter((candidate) => candidate !== null);
  const gap = ({ parameters }: Candidate) => Math.abs(parameters - target);
  const [best] = found.toSorted((a, b) => gap(a) - gap(b) || a.dim - b.dim);
  if (best !== undefined && gap(best) <= tolerance * target) return best;
  const near = found.map(({ dim, parameters }) => `${parameters} at width ${dim}`).join(', ');
  throw new ConfigError(
    `${what}: no width that is a multiple of ${step} has ${target} parameters within ${100 * tolerance} %; ` +
      `${near === '' ? 'none fits at all' : `the nearest are ${near}`}; choose a smaller matchParameters.step or feedForward.roundTo of the model, or a larger tolerance`,
  );
}

/** The first width from which on there are at least as many parameters as wanted, by doubling and halving. */
function firstAbove(at: (k: number) => Candidate | null, target: number, last: number): Candidate | null {
  /** The first width from k on that fits. */
  const fitting = (k: number, end: number): Candidate | null => {
    for (let j = k; j <= end; j++) {
      const candidate = at(j);
      if (candidate !== null) return candidate;
    }
    return null;
  };
  const reaches = (k: number, end: number) => {
    const candidate = fitting(k, end);
    return candidate !== null && candidate.parameters >= target;
  };
  let high = 1;
  while (high < last && !reaches(high, Math.min(last, 2 * high))) high = Math.min(last, 2 * high);
  let low = 1;
  const end = Math.min(last, 2 * high);
  if (!reaches(high, end)) return null;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (reaches(middle, end)) high = middle;
    else low = middle + 1;
  }
  return fitting(high, end);
}

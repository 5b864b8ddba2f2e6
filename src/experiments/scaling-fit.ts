/**
 * @file The constants of the scaling law from measured losses: Huber loss on the logarithms (arXiv 2203.15556, section
 * 3.3; arXiv 2510.02228), found by Levenberg-Marquardt steps from a grid of starts. Same points, same constants. It reads
 * and draws nothing.
 */
import { draw, fold, randomKey } from '../tensor/random.js';
import { logAddExp, predictLoss, type ScalingLaw } from './scaling-law.js';

/** One trained model. */
export interface ScalingPoint {
  readonly parameters: number;
  readonly tokens: number;
  /** Nats per token. */
  readonly loss: number;
}

export interface ScalingFitOptions {
  /** `free`, or the value it is held at: 1 gives the law without the outer power. */
  readonly gamma?: 'free' | number;
  /** Where the Huber loss turns from squares to absolute values, in logarithms of the loss. Default 1e-3. */
  readonly delta?: number;
  /** Fits to points drawn again with replacement, for the intervals. Default 0: no intervals. */
  readonly resamples?: number;
  /** Of the drawing. Default 0. */
  readonly seed?: number;
}

export interface ScalingFit {
  readonly law: ScalingLaw;
  /** Mean Huber loss of the residuals. */
  readonly objective: number;
  /** Root of the mean squared residual of log loss: 0.01 is about 1 % of the loss. */
  readonly rms: number;
  /** log measured - log predicted, by point. */
  readonly residuals: readonly number[];
  /** Percentiles 2.5 and 97.5 over the resamples, by constant; null without resamples. */
  readonly intervals: Readonly<Record<keyof ScalingLaw, readonly [low: number, high: number]>> | null;
}

const DEFAULT_DELTA = 1e-3;
/** A start is given this many steps before the best few go on to the end. */
const SCREENING_STEPS = 12;
const FINALISTS = 6;
const MAX_STEPS = 2000;

/**
 * Fits the law. The points must differ in parameters and in tokens, and be more than the constants.
 * Huber's loss is not convex in the constants, hence the starts. With gamma free, a wide range of N and D is needed:
 * far from where the two terms are equal only the products alpha gamma, beta gamma, a gamma and b gamma show.
 * @throws RangeError for points that cannot be fitted, with the reason.
 */
export function fitScalingLaw(points: readonly ScalingPoint[], options: ScalingFitOptions = {}): ScalingFit {
  const { gamma = 'free', delta = DEFAULT_DELTA, resamples = 0, seed = 0 } = options;
  checkPoints(points, gamma, delta);
  const data = toLogs(points);
  const problem: Problem = { data, delta, gamma: gamma === 'free' ? null : gamma };
  const screened = starts(problem).map((start) => descend(problem, start, SCREENING_STEPS));
  const finalists = screened.toSorted(byObjective).slice(0, FINALISTS);
  const best = finalists.map(({ theta }) => descend(problem, theta, MAX_STEPS)).toSorted(byObjective)[0]!;
  const law = toLaw(problem, best.theta);
  const residuals = points.map((p) => Math.log(p.loss) - Math.log(predictLoss(law, p.parameters, p.tokens)));
  return {
    law,
    objective: best.objective / points.length,
    rms: Math.sqrt(residuals.reduce((sum, r) => sum + r * r, 0) / residuals.length),
    residuals,
    intervals: resamples === 0 ? null : bootstrap(problem, best.theta, resamples, seed),
  };
}

function checkPoints(points: readonly ScalingPoint[], gamma: 'free' | number, delta: number): void {
  const bad = points.findIndex(({ parameters, tokens, loss }) =>
    [parameters, tokens, loss].some((value) => !(Number.isFinite(value) && value > 0)),
  );
  if (bad >= 0) {
    const { parameters, tokens, loss } = points[bad]!;
    throw new RangeError(
      `fitScalingLaw: parameters, tokens and loss must be finite and above 0; point ${bad + 1} has ` +
        `${parameters}, ${tokens}, ${loss}; leave it out`,
    );
  }
  if (gamma !== 'free' && !(gamma > 0)) throw new RangeError(`fitScalingLaw: gamma is above 0 or 'free', got ${gamma}`);
  if (!(delta > 0)) throw new RangeError(`fitScalingLaw: delta must be above 0, got ${delta}`);
  const constants = gamma === 'free' ? 6 : 5;
  if (points.length <= constants)
    throw new RangeError(
      `fitScalingLaw: ${constants} constants need more than ${constants} points, got ${points.length}; ` +
        'add runs' +
        (gamma === 'free' && points.length > 5 ? ', or hold gamma at 1' : ''),
    );
  for (const name of ['parameters', 'tokens'] as const) {
    const different = new Set(points.map((point) => point[name])).size;
    if (different < 3)
      throw new RangeError(`fitScalingLaw: needs at least three different numbers of ${name}, got ${different}`);
  }
}

// ---- the problem in logarithms -------------------------------------------------------------------------------------

interface Data {
  /** Logarithms of parameters and tokens, their means taken away, and of the losses. */
  readonly n: Float64Array;
  readonly d: Float64Array;
  readonly loss: Float64Array;
  readonly meanN: number;
  readonly meanD: number;
}

interface Problem {
  readonly data: Data;
  readonly delta: number;
  /** Null where it is fitted. */
  readonly gamma: number | null;
}

/**
 * What the steps move: e, a - alpha mean(log N), b - beta mean(log D), log alpha, log beta, log gamma. In these the
 * constants are far less entangled than a with alpha, and the exponents stay above 0.
 */
type Theta = readonly number[];

function toLogs(points: readonly ScalingPoint[]): Data {
  const logs = (name: keyof ScalingPoint) => Float64Array.from(points, (point) => Math.log(point[name]));
  const [n, d] = [logs('parameters'), logs('tokens')];
  const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanN, meanD] = [mean(n), mean(d)];
  return { n: n.map((x) => x - meanN), d: d.map((x) => x - meanD), loss: logs('loss'), meanN, meanD };
}

function toLaw({ data, gamma }: Problem, theta: Theta): ScalingLaw {
  const [e, a, b] = [theta[0]!, theta[1]!, theta[2]!];
  const [alpha, beta] = [Math.exp(theta[3]!), Math.exp(theta[4]!)];
  return {
    a: a + alpha * data.meanN,
    b: b + beta * data.meanD,
    e,
    alpha,
    beta,
    gamma: gamma ?? Math.exp(theta[5]!),
  };
}

/** Between the floor and the least loss, and from slow to fast decay; the offsets put half of the rest on each term. */
function starts(problem: Problem): Theta[] {
  const { data, gamma } = problem;
  const least = Math.min(...data.loss);
  const typical = data.loss.toSorted()[data.loss.length >> 1]!;
  const found: Theta[] = [];
  for (const share of [0.3, 0.6, 0.9]) {
    const e = least + Math.log(share);
    const rest = Math.log(Math.max(Math.exp(typical) - Math.exp(e), 1e-3 * Math.exp(typical)));
    for (const power of gamma === null ? [0.15, 0.3, 1] : [gamma])
      for (const alpha of [0.05, 0.15, 0.4])
        for (const beta of [0.05, 0.15, 0.4]) {
          const offset = (rest - power * Math.LN2) / power;
          const exponents = [Math.log(alpha / power), Math.log(beta / power)];
          found.push([e, offset, offset, ...exponents, ...(gamma === null ? [Math.log(power)] : [])]);
        }
  }
  return found;
}

// ---- Levenberg-Marquardt -------------------------------------------------------------------------------------------

interface Fitted {
  readonly theta: Theta;
  readonly objective: number;
}

const byObjective = (x: Fitted, y: Fitted): number => x.objective - y.objective;

/** Residual of one point and, where asked, its derivatives by theta. */
function residualAt(
  { data, gamma: fixed }: Problem,
  alphaBetaGamma: readonly [number, number, number],
  theta: Theta,
  i: number,
  derivatives: Float64Array | null,
): number {
  const [alpha, beta, gamma] = alphaBetaGamma;
  const [n, d] = [data.n[i]!, data.d[i]!];
  const [x, y] = [theta[1]! - alpha * n, theta[2]! - beta * d];
  const inner = logAddExp(x, y);
  const predicted = logAddExp(theta[0]!, gamma * inner);
  if (derivatives !== null) {
    const reducible = Math.exp(gamma * inner - predicted); // share of the loss that is not e^e
    const ofX = reducible * gamma * Math.exp(x - inner);
    const ofY = reducible * gamma * Math.exp(y - inner);
    derivatives[0] = 1 - reducible;
    derivatives[1] = ofX;
    derivatives[2] = ofY;
    derivatives[3] = -ofX * n * alpha;
    derivatives[4] = -ofY * d * beta;
    if (fixed === null) derivatives[5] = reducible * inner * gamma;
  }
  return predicted - data.loss[i]!;
}

const exponentsOf = ({ gamma }: Problem, theta: Theta): readonly [number, number, number] => [
  Math.exp(theta[3]!),
  Math.exp(theta[4]!),
  gamma ?? Math.exp(theta[5]!),
];

function objectiveAt(problem: Problem, theta: Theta): number {
  const { delta, data } = problem;
  const exponents = exponentsOf(problem, theta);
  let sum = 0;
  for (let i = 0; i < data.loss.length; i++) {
    const size = Math.abs(residualAt(problem, exponents, theta, i, null));
    sum += size <= delta ? 0.5 * size * size : delta * (size - 0.5 * delta);
  }
  return sum;
}

/** The matrix J^T W J and the gradient J^T W r, with Huber's weights W = min(1, delta / |r|). */
function normalEquations(problem: Problem, theta: Theta): { matrix: Float64Array[]; gradient: Float64Array } {
  const { delta, data } = problem;
  const size = theta.length;
  const matrix = Array.from({ length: size }, () => new Float64Array(size));
  const gradient = new Float64Array(size);
  const row = new Float64Array(size);
  const exponents = exponentsOf(problem, theta);
  for (let i = 0; i < data.loss.length; i++) {
    const residual = residualAt(problem, exponents, theta, i, row);
    const weight = Math.min(1, delta / Math.max(Math.abs(residual), Number.MIN_VALUE));
    for (let j = 0; j < size; j++) {
      const weighted = weight * row[j]!;
      gradient[j]! += weighted * residual;
      for (let k = 0; k <= j; k++) matrix[j]![k]! += weighted * row[k]!;
    }
  }
  return { matrix, gradient };
}

/** Steps down from a start until they gain nothing. */
function descend(problem: Problem, start: Theta, steps: number): Fitted {
  let theta = start;
  let objective = objectiveAt(problem, theta);
  let damping = 1e-2;
  for (let step = 0; step < steps && damping < 1e12; step++) {
    const { matrix, gradient } = normalEquations(problem, theta);
    let gained = 0;
    while (gained === 0 && damping < 1e12) {
      const move = solveDamped(matrix, gradient, damping);
      // A step of more than e in an exponent leaves the region that the derivatives describe.
      const longest = Math.max(...move.slice(3).map(Math.abs), 1);
      const next = theta.map((value, k) => value - move[k]! / longest);
      const value = objectiveAt(problem, next);
      if (value < objective) {
        gained = objective - value;
        [theta, objective, damping] = [next, value, Math.max(1e-12, damping / 5)];
      } else damping *= 4;
    }
    if (gained <= 1e-13 * objective) break;
  }
  return { theta, objective };
}

/** Solves (A + damping diag(A)) x = g by Cholesky; only the lower half of A is read. */
function solveDamped(matrix: readonly Float64Array[], gradient: Float64Array, damping: number): number[] {
  const size = gradient.length;
  const largest = Math.max(...matrix.map((row, j) => row[j]!), Number.MIN_VALUE);
  const lower = matrix.map((row) => row.slice());
  for (let j = 0; j < size; j++) {
    lower[j]![j]! += damping * Math.max(matrix[j]![j]!, 1e-12 * largest);
    for (let k = 0; k <= j; k++) {
      let sum = lower[j]![k]!;
      for (let m = 0; m < k; m++) sum -= lower[j]![m]! * lower[k]![m]!;
      lower[j]![k] = k === j ? Math.sqrt(Math.max(sum, 1e-300)) : sum / lower[k]![k]!;
    }
  }
  const x = Array.from(gradient);
  for (let j = 0; j < size; j++) {
    for (let k = 0; k < j; k++) x[j]! -= lower[j]![k]! * x[k]!;
    x[j]! /= lower[j]![j]!;
  }
  for (let j = size - 1; j >= 0; j--) {
    for (let k = j + 1; k < size; k++) x[j]! -= lower[k]![j]! * x[k]!;
    x[j]! /= lower[j]![j]!;
  }
  return x;
}

// ---- intervals -----------------------------------------------------------------------------------------------------

/** Percentiles of each constant over fits to points drawn with replacement, each started from the fit to all points. */
function bootstrap(
  problem: Problem,
  theta: Theta,
  resamples: number,
  seed: number,
): NonNullable<ScalingFit['intervals']> {
  const { data } = problem;
  const count = data.loss.length;
  const laws = Array.from({ length: resamples }, (_, sample) => {
    const key = fold(randomKey(seed), sample);
    const chosen = Array.from({ length: count }, (_, i) => Math.floor(draw(key, i) * count));
    const pick = (values: Float64Array) => Float64Array.from(chosen, (i) => values[i]!);
    const drawn = { ...problem, data: { ...data, n: pick(data.n), d: pick(data.d), loss: pick(data.loss) } };
    return toLaw(drawn, descend(drawn, theta, MAX_STEPS).theta);
  });
  const interval = (name: keyof ScalingLaw): readonly [number, number] => {
    const values = laws.map((law) => law[name]).toSorted((x, y) => x - y);
    const at = (share: number): number => values[Math.round(share * (values.length - 1))]!;
    return [at(0.025), at(0.975)];
  };
  return {
    a: interval('a'),
    b: interval('b'),
    e: interval('e'),
    alpha: interval('alpha'),
    beta: interval('beta'),
    gamma: interval('gamma'),
  };
}

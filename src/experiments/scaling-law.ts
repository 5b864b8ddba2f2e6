/**
 * @file The law of the loss by parameters and tokens, L(N,D) = e^e + (e^a/N^alpha + e^b/D^beta)^gamma (arXiv 2510.02228,
 * section 3), and what follows from it: the model size that a compute budget is best spent on, and how fast the loss
 * falls with compute. It does not find the constants; `scaling-fit.ts` does.
 */

/** The constants; with gamma = 1 it is the law of arXiv 2203.15556. */
export interface ScalingLaw {
  readonly a: number;
  readonly b: number;
  /** Logarithm of the loss that no size and no data remove. */
  readonly e: number;
  readonly alpha: number;
  readonly beta: number;
  readonly gamma: number;
}

/** FLOPs of training per parameter and token, where they were not counted. */
export const FLOPS_PER_PARAMETER_TOKEN = 6;

/** Logarithm of e^x + e^y, without overflow. */
export function logAddExp(x: number, y: number): number {
  const high = Math.max(x, y);
  return high === -Infinity ? high : high + Math.log1p(Math.exp(Math.min(x, y) - high));
}

/** The loss in nats per token at N parameters and D tokens. */
export function predictLoss({ a, b, e, alpha, beta, gamma }: ScalingLaw, parameters: number, tokens: number): number {
  const reducible = gamma * logAddExp(a - alpha * Math.log(parameters), b - beta * Math.log(tokens));
  return Math.exp(logAddExp(e, reducible));
}

export interface ComputeOptimum {
  readonly flops: number;
  readonly parameters: number;
  readonly tokens: number;
  readonly loss: number;
}

/**
 * N and D of the least loss at C = k N D FLOPs. The outer power and the constant do not move the minimum of
 * e^a/N^alpha + e^b/D^beta, so N* = (alpha e^a / (beta e^b))^(1/(alpha+beta)) (C/k)^(beta/(alpha+beta)) (arXiv
 * 2203.15556, equation 4).
 */
export function computeOptimum(
  law: ScalingLaw,
  flops: number,
  flopsPerParameterToken = FLOPS_PER_PARAMETER_TOKEN,
): ComputeOptimum {
  const { a, b, alpha, beta } = law;
  const product = flops / flopsPerParameterToken;
  const log = (Math.log(alpha / beta) + a - b + beta * Math.log(product)) / (alpha + beta);
  const parameters = Math.exp(log);
  const tokens = product / parameters;
  return { flops, parameters, tokens, loss: predictLoss(law, parameters, tokens) };
}

/** The exponents of N* ~ C^n and D* ~ C^d; they add up to 1. */
export function optimumExponents({ alpha, beta }: ScalingLaw): {
  readonly parameters: number;
  readonly tokens: number;
} {
  return { parameters: beta / (alpha + beta), tokens: alpha / (alpha + beta) };
}

/** y = exp(offset) x^-slope with its coefficient of determination in logarithms. */
export interface PowerLaw {
  readonly slope: number;
  readonly offset: number;
  /** 1 where the points lie on the line; NaN where all y are equal. */
  readonly r2: number;
}

/**
 * Least squares of log y over log x.
 * @param points  [x, y], both above 0: FLOPs and loss, for instance.
 * @throws RangeError for fewer than two different x, or for values that have no logarithm.
 */
export function fitPowerLaw(points: readonly (readonly [x: number, y: number])[]): PowerLaw {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)] as const);
  if (logs.some(([x, y]) => !Number.isFinite(x) || !Number.isFinite(y)))
    throw new RangeError('fitPowerLaw: x and y must be finite and above 0; leave out runs that have no loss');
  if (new Set(points.map(([x]) => x)).size < 2)
    throw new RangeError(`fitPowerLaw: needs points at two different x at least, got ${points.length} at one`);
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanX, meanY] = [mean(logs.map(([x]) => x)), mean(logs.map(([, y]) => y))];
  const sum = (term: (dx: number, dy: number) => number): number =>
    logs.reduce((total, [x, y]) => total + term(x - meanX, y - meanY), 0);
  const [xx, xy, yy] = [sum((dx) => dx * dx), sum((dx, dy) => dx * dy), sum((_, dy) => dy * dy)];
  const slope = -xy / xx;
  return { slope, offset: meanY + slope * meanX, r2: (xy * xy) / (xx * yy) };
}

/**
 * @file Scalar functions of the reference kernels in float64: gates, the error function, activations and their
 * derivatives. No arrays here.
 */
import { Activation } from '../kernels.js';

/** 1 / (1 + exp(-x)), without overflow on either side. */
export function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x));
  const e = Math.exp(x);
  return e / (1 + e);
}

/** log(sigmoid(x)) = -log(1 + exp(-x)), without overflow on either side. */
export function logSigmoid(x: number): number {
  return x >= 0 ? -Math.log1p(Math.exp(-x)) : x - Math.log1p(Math.exp(x));
}

/** exp(-x^2), with the rounding error of x^2 put back: it would cost x^2 ulps. */
function gaussian(x: number): number {
  if (Math.abs(x) > 28) return 0; // underflows, and spares infinity - infinity
  const high = Math.fround(x); // 24 bits, so its square is exact in 53
  return Math.exp(-high * high) * Math.exp(-(x - high) * (x + high));
}

/** Series of DLMF 7.6.2, all terms of one sign: for |x| < 1. */
function erfSeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * gaussian(x) * sum;
}

/** Continued fraction of DLMF 7.9.1, evaluated from its tail: for x >= 1. */
function erfcFraction(x: number): number {
  let tail = x;
  for (let n = 300; n >= 1; n--) tail = x + n / 2 / tail;
  return gaussian(x) / (Math.sqrt(Math.PI) * tail);
}

/** The error function, to about 1e-15 relative. */
export function erf(x: number): number {
  if (Number.isNaN(x)) return NaN;
  if (Math.abs(x) < 1) return erfSeries(x);
  return x > 0 ? 1 - erfcFraction(x) : erfcFraction(-x) - 1;
}

/** 1 - erf(x), to a few 1e-15 relative also where it is small. */
export function erfc(x: number): number {
  if (Number.isNaN(x)) return NaN;
  if (x >= 1) return erfcFraction(x);
  return x > -1 ? 1 - erfSeries(x) : 2 - erfcFraction(-x);
}

/** Distribution function of the standard normal. */
const normalCdf = (x: number): number => 0.5 * erfc(-x / Math.SQRT2);

/** Density of the standard normal. */
const normalPdf = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);

/** x * factor where factor decays to 0 faster than x grows: 0 at -infinity, not NaN. */
const damped = (x: number, factor: number): number => (factor === 0 ? 0 : x * factor);

/** y = activation(x). */
export function activate(x: number, activation: Activation): number {
  switch (activation) {
    case Activation.none:
      return x;
    case Activation.silu:
      return damped(x, sigmoid(x));
    case Activation.gelu:
      return damped(x, normalCdf(x));
    case Activation.sigmoid:
      return sigmoid(x);
    case Activation.tanh:
      return Math.tanh(x);
    case Activation.relu:
      return Math.max(x, 0);
    case Activation.exp:
      return Math.exp(x);
    case Activation.softplus:
      return -logSigmoid(-x);
    case Activation.logsigmoid:
      return logSigmoid(x);
    case Activation.eluplus1:
      return x > 0 ? x + 1 : Math.exp(x);
    case Activation.relu2:
      return Math.max(x, 0) ** 2;
    case Activation.sine:
      return Math.sin(x);
    default:
      throw unknownActivation(activation);
  }
}

/** dy/dx of y = activation(x); 0 for relu at 0. */
export function activateDerivative(x: number, activation: Activation): number {
  switch (activation) {
    case Activation.none:
      return 1;
    case Activation.silu:
      return sigmoid(x) + damped(x, sigmoid(x) * sigmoid(-x));
    case Activation.gelu:
      return normalCdf(x) + damped(x, normalPdf(x));
    case Activation.sigmoid:
      return sigmoid(x) * sigmoid(-x);
    case Activation.tanh:
      // 1 - tanh^2, without its cancellation
      return 4 * sigmoid(2 * x) * sigmoid(-2 * x);
    case Activation.relu:
      return x > 0 ? 1 : 0;
    case Activation.exp:
      return Math.exp(x);
    case Activation.softplus:
      return sigmoid(x);
    case Activation.logsigmoid:
      return sigmoid(-x);
    case Activation.eluplus1:
      return x > 0 ? 1 : Math.exp(x);
    case Activation.relu2:
      return 2 * Math.max(x, 0);
    case Activation.sine:
      return Math.cos(x);
    default:
      throw unknownActivation(activation);
  }
}

function unknownActivation(activation: never): RangeError {
  return new RangeError(`activation: ${String(activation)} is not one of ${Object.values(Activation).join(', ')}`);
}

/** cap * tanh(x / cap). */
export const softCap = (x: number, cap: number): number => cap * Math.tanh(x / cap);

/** d/dx of `softCap` from its result: 1 - (y / cap)^2, without the cancellation near y = cap. */
export const softCapDerivative = (y: number, cap: number): number => ((cap - y) / cap) * ((cap + y) / cap);

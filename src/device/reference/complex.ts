/** @file Complex numbers for the reference kernels of state-space models, written to be read. It has no arrays. */

export interface Complex {
  readonly re: number;
  readonly im: number;
}

export const complex = (re: number, im = 0): Complex => ({ re, im });
export const plus = (a: Complex, b: Complex): Complex => ({ re: a.re + b.re, im: a.im + b.im });
export const minus = (a: Complex, b: Complex): Complex => ({ re: a.re - b.re, im: a.im - b.im });
export const times = (a: Complex, b: Complex): Complex => ({
  re: a.re * b.re - a.im * b.im,
  im: a.re * b.im + a.im * b.re,
});
export const scaled = (a: Complex, factor: number): Complex => ({ re: a.re * factor, im: a.im * factor });
export const conjugate = (a: Complex): Complex => ({ re: a.re, im: -a.im });
/** |a|^2 */
export const square = (a: Complex): number => a.re * a.re + a.im * a.im;
export const over = (a: Complex, b: Complex): Complex => scaled(times(a, conjugate(b)), 1 / square(b));
/** e^a */
export const cexp = (a: Complex): Complex => complex(Math.exp(a.re) * Math.cos(a.im), Math.exp(a.re) * Math.sin(a.im));

/** Numbers of the series below: enough for 16 digits where |z| < 1/4. */
const TERMS = 14;
const isSmall = (z: Complex): boolean => square(z) < 1 / 16;

/** phi(z) = (e^z - 1) / z, by its series sum_k z^k / (k+1)! near 0, where the difference would cancel. */
export function phi(z: Complex): Complex {
  if (!isSmall(z)) return over(minus(cexp(z), complex(1)), z);
  let [sum, term] = [complex(1), complex(1)];
  for (let k = 1; k < TERMS; k++) {
    term = scaled(times(term, z), 1 / (k + 1));
    sum = plus(sum, term);
  }
  return sum;
}

/** phi'(z) = (e^z - phi(z)) / z, near 0 sum_k k z^(k-1) / (k+1)!. */
export function phiDerivative(z: Complex): Complex {
  if (!isSmall(z)) return over(minus(cexp(z), phi(z)), z);
  let [sum, power] = [complex(0.5), complex(0.5)];
  for (let k = 2; k < TERMS; k++) {
    power = scaled(times(power, z), 1 / (k + 1));
    sum = plus(sum, scaled(power, k));
  }
  return sum;
}

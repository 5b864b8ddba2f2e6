/**
 * @file Reference kernels of diagonal state-space models: discretisation, the kernel as a sum of powers, and the
 * recurrence with its state. Complex arrays are [2,N,D]: real parts, then imaginary parts.
 *
 * The gradient of a complex number w here is dL/d(Re w) + i dL/d(Im w); where w = f(u) with f holomorphic, that of u is
 * dw times the conjugate of f'(u).
 */
import type { Kernels } from '../kernels.js';
import { SsmRealPart } from '../kernels-state-space.js';
import { floats, optionalFlags, optionalFloats } from './buffer.js';
import {
  cexp,
  complex,
  conjugate,
  minus,
  phi,
  phiDerivative,
  plus,
  scaled,
  square,
  times,
  type Complex,
} from './complex.js';

/** Element k of a complex array of `size` numbers. */
const at = (x: Float64Array, k: number, size: number): Complex => ({ re: x[k]!, im: x[size + k]! });

function put(x: Float64Array, k: number, size: number, value: Complex): void {
  x[k] = value.re;
  x[size + k] = value.im;
}

function accumulate(x: Float64Array | null, k: number, size: number, value: Complex): void {
  if (x) put(x, k, size, plus(at(x, k, size), value));
}

/** Added to |x|^2 in the reciprocal x^* / |x|^2 of the softmax form (arXiv 2203.14343, as the DSS code has it). */
const SOFTMAX_EPS = 1e-7;
/** Largest real part of A with SsmRealPart.clamped. */
const CLAMP = -1e-4;

/** The real part of A from its parameter, and the derivative. */
function realPart(a: number, kind: SsmRealPart): [value: number, derivative: number] {
  if (kind === SsmRealPart.negativeExp) return [-Math.exp(a), -Math.exp(a)];
  if (kind === SsmRealPart.clamped && a > CLAMP) return [CLAMP, 0];
  return [a, 1];
}

/** x^* / (|x|^2 + eps) and what gradient of x a gradient of it gives. */
function reciprocal(x: Complex): [value: Complex, pull: (gradient: Complex) => Complex] {
  const m = 1 / (square(x) + SOFTMAX_EPS);
  const pull = (g: Complex): Complex => scaled(minus(scaled(conjugate(g), SOFTMAX_EPS), times(times(x, x), g)), m * m);
  return [scaled(conjugate(x), m), pull];
}

/** c / (C dt scale) as a function of z, and its pull-back. */
function factor(z: Complex, L: number): [value: Complex, pull: (gradient: Complex) => Complex] {
  if (L === 0) return [phi(z), (g) => times(g, conjugate(phiDerivative(z)))];
  // (e^u - 1) / z * 1 / (e^(L u) - 1) with u = z or -z, whichever decays.
  const sign = z.re > 0 ? -1 : 1;
  const u = scaled(z, sign);
  const Lu = scaled(u, L);
  const [inverse, pull] = reciprocal(times(Lu, phi(Lu)));
  const value = scaled(times(phi(u), inverse), sign);
  return [
    value,
    (g) => {
      const dphi = scaled(times(g, conjugate(inverse)), sign);
      const dinverse = scaled(times(g, conjugate(phi(u))), sign);
      const ddenominator = pull(dinverse);
      // d/du (e^(L u) - 1) = L e^(L u)
      const du = plus(times(dphi, conjugate(phiDerivative(u))), scaled(times(ddenominator, conjugate(cexp(Lu))), L));
      return scaled(du, sign);
    },
  ];
}

/** Exponent of the first tap of a term. */
const anchorOf = (z: Complex, L: number, anchored: boolean): number => (anchored && z.re > 0 ? L - 1 : 0);

export const stateSpace = {
  ssmDiscretizeForward(c, z, A, C, logDt, N, D, kind, L, scale) {
    const size = N * D;
    const [Cout, Z] = [floats(c, 2 * size), floats(z, 2 * size)];
    const [Ain, Cin, LogDt] = [floats(A, 2 * size), floats(C, 2 * size), floats(logDt, D)];
    for (let k = 0; k < size; k++) {
      const dt = Math.exp(LogDt[k % D]!);
      const a = at(Ain, k, size);
      const dtA = scaled(complex(realPart(a.re, kind)[0], a.im), dt);
      put(Z, k, size, dtA);
      put(Cout, k, size, scaled(times(at(Cin, k, size), factor(dtA, L)[0]), scale * dt));
    }
  },

  ssmDiscretizeBackward(dA, dC, dlogDt, dc, dz, A, C, logDt, N, D, kind, L, scale) {
    const size = N * D;
    const [DA, DC, DLogDt] = [optionalFloats(dA, 2 * size), optionalFloats(dC, 2 * size), optionalFloats(dlogDt, D)];
    const [Dc, Dz] = [floats(dc, 2 * size), floats(dz, 2 * size)];
    const [Ain, Cin, LogDt] = [floats(A, 2 * size), floats(C, 2 * size), floats(logDt, D)];
    for (let k = 0; k < size; k++) {
      const dt = Math.exp(LogDt[k % D]!);
      const [re, derivative] = realPart(Ain[k]!, kind);
      const a = { re, im: Ain[size + k]! };
      const [value, pull] = factor(scaled(a, dt), L);
      const [gc, Ck] = [scaled(at(Dc, k, size), scale), at(Cin, k, size)];
      // c = scale C dt factor(z);  z = dt A;  dt = exp(logDt)
      accumulate(DC, k, size, scaled(times(gc, conjugate(value)), dt));
      const gz = plus(at(Dz, k, size), scaled(pull(times(gc, conjugate(Ck))), dt));
      accumulate(DA, k, size, complex(gz.re * dt * derivative, gz.im * dt));
      const ddt = times(gc, conjugate(times(Ck, value))).re + times(gz, conjugate(a)).re;
      if (DLogDt) DLogDt[k % D]! += ddt * dt;
    }
  },

  ssmKernelForward(kernel, c, z, L, N, D, anchored) {
    const size = N * D;
    const [K, Cin, Z] = [floats(kernel, L * D), floats(c, 2 * size), floats(z, 2 * size)];
    K.fill(0, 0, L * D);
    for (let k = 0; k < size; k++) {
      const zk = at(Z, k, size);
      const anchor = anchorOf(zk, L, anchored);
      for (let l = 0; l < L; l++) {
        K[l * D + (k % D)]! += times(at(Cin, k, size), cexp(scaled(zk, l - anchor))).re;
      }
    }
  },

  ssmKernelBackward(dc, dz, dkernel, c, z, L, N, D, anchored) {
    const size = N * D;
    const [DC, DZ, DK] = [optionalFloats(dc, 2 * size), optionalFloats(dz, 2 * size), floats(dkernel, L * D)];
    const [Cin, Z] = [floats(c, 2 * size), floats(z, 2 * size)];
    for (let k = 0; k < size; k++) {
      const zk = at(Z, k, size);
      const anchor = anchorOf(zk, L, anchored);
      for (let l = 0; l < L; l++) {
        // K[l] = Re(c e^((l - anchor) z))
        const power = cexp(scaled(zk, l - anchor));
        const g = DK[l * D + (k % D)]!;
        accumulate(DC, k, size, scaled(conjugate(power), g));
        accumulate(DZ, k, size, scaled(conjugate(times(at(Cin, k, size), power)), g * (l - anchor)));
      }
    }
  },

  diagonalScanForward(y, stateOut, x, c, z, skip, stateIn, reset, B, T, N, D) {
    const size = N * D;
    const [Y, X] = [floats(y, B * T * D), floats(x, B * T * D)];
    const [Cin, Z, Skip] = [floats(c, 2 * size), floats(z, 2 * size), optionalFloats(skip, D)];
    const [Sin, Sout] = [optionalFloats(stateIn, 2 * B * size), optionalFloats(stateOut, 2 * B * size)];
    const R = optionalFlags(reset, B * T);
    for (let n = 0; n < B * T * D; n++) Y[n] = (Skip?.[n % D] ?? 0) * X[n]!;
    for (let b = 0; b < B; b++) {
      for (let k = 0; k < size; k++) {
        const a = cexp(at(Z, k, size));
        let h = Sin ? at(Sin.subarray(2 * b * size), k, size) : complex(0);
        for (let t = 0; t < T; t++) {
          const n = (b * T + t) * D + (k % D);
          if (R?.[b * T + t]) h = complex(0);
          h = plus(times(a, h), complex(X[n]!));
          Y[n]! += times(at(Cin, k, size), h).re;
        }
        if (Sout) put(Sout.subarray(2 * b * size), k, size, h);
      }
    }
  },

  diagonalScanBackward(dx, dc, dz, dskip, dstateIn, dy, dstateOut, x, c, z, skip, stateIn, reset, B, T, N, D) {
    const size = N * D;
    const [DX, DC, DZ] = [optionalFloats(dx, B * T * D), optionalFloats(dc, 2 * size), optionalFloats(dz, 2 * size)];
    const [DSkip, DSin] = [optionalFloats(dskip, D), optionalFloats(dstateIn, 2 * B * size)];
    const [DY, DSout, X] = [floats(dy, B * T * D), optionalFloats(dstateOut, 2 * B * size), floats(x, B * T * D)];
    const [Cin, Z, Skip] = [floats(c, 2 * size), floats(z, 2 * size), optionalFloats(skip, D)];
    const [Sin, R] = [optionalFloats(stateIn, 2 * B * size), optionalFlags(reset, B * T)];
    for (let n = 0; n < B * T * D; n++) {
      // y = skip x
      if (DX && Skip) DX[n]! += Skip[n % D]! * DY[n]!;
      if (DSkip) DSkip[n % D]! += DY[n]! * X[n]!;
    }
    for (let b = 0; b < B; b++) {
      for (let k = 0; k < size; k++) {
        const [a, ck] = [cexp(at(Z, k, size)), at(Cin, k, size)];
        // States before each step (after a reset, where there is one), and after the last.
        const before: Complex[] = [];
        let h = Sin ? at(Sin.subarray(2 * b * size), k, size) : complex(0);
        for (let t = 0; t < T; t++) {
          if (R?.[b * T + t]) h = complex(0);
          before.push(h);
          h = plus(times(a, h), complex(X[(b * T + t) * D + (k % D)]!));
        }
        let g = DSout ? at(DSout.subarray(2 * b * size), k, size) : complex(0);
        for (let t = T - 1; t >= 0; t--) {
          const n = (b * T + t) * D + (k % D);
          // y = Re(c h)
          accumulate(DC, k, size, scaled(conjugate(h), DY[n]!));
          g = plus(g, scaled(conjugate(ck), DY[n]!));
          // h = a h' + x, a = e^z
          if (DX) DX[n]! += g.re;
          accumulate(DZ, k, size, times(g, conjugate(times(a, before[t]!))));
          h = before[t]!;
          g = R?.[b * T + t] ? complex(0) : times(g, conjugate(a));
          // A reset hides the state before it; the state after the step before is what x gave there.
          if (R?.[b * T + t] && t > 0) h = plus(times(a, before[t - 1]!), complex(X[n - D]!));
        }
        if (DSin) accumulate(DSin.subarray(2 * b * size), k, size, g);
      }
    }
  },
} satisfies Partial<Kernels>;

/**
 * @file Reference kernels of S4: the state-space model whose matrix is diagonal plus low rank, by its recurrence. It knows
 * no generating function; that is a way to compute the kernel, and a test compares the two.
 *
 * Complex arrays are [2,N,D]; each of the N modes stands for itself and its conjugate. Gradients of complex numbers are as
 * in `state-space.ts`.
 */
import type { Kernels } from '../kernels.js';
import { floats, optionalFlags, optionalFloats } from './buffer.js';
import { complex, conjugate, minus, over, plus, scaled, square, times, type Complex } from './complex.js';

/** The parameters of one channel. */
interface Parameters {
  /** Eigenvalues Lambda of the diagonal part. */
  readonly eigenvalues: readonly Complex[];
  readonly P: readonly Complex[];
  readonly Bm: readonly Complex[];
  readonly C: readonly Complex[];
  readonly dt: number;
}

/** h[t] = a h[t-1] - p S(q, h[t-1]) + b x[t], y[t] = S(C, h[t]), S(u, v) = 2 Re sum_n u_n v_n. */
interface Steps {
  readonly a: readonly Complex[];
  readonly p: readonly Complex[];
  readonly q: readonly Complex[];
  readonly b: readonly Complex[];
}

type Vector = readonly Complex[];

const pairSum = (u: Vector, v: Vector): number => 2 * u.reduce((sum, x, n) => sum + times(x, v[n]!).re, 0);
/** Re sum_n u_n conj(v_n) */
const inner = (u: Vector, v: Vector): number => u.reduce((sum, x, n) => sum + times(x, conjugate(v[n]!)).re, 0);

function parametersOf(
  arrays: readonly Float64Array[],
  logDt: Float64Array,
  d: number,
  N: number,
  D: number,
): Parameters {
  const column = (x: Float64Array): Complex[] =>
    Array.from({ length: N }, (_, n) => ({ re: x[n * D + d]!, im: x[(N + n) * D + d]! }));
  const [A, P, Bm, C] = arrays.map(column) as [Complex[], Complex[], Complex[], Complex[]];
  const eigenvalues = A.map(({ re, im }) => complex(-Math.exp(re), im));
  return { eigenvalues, P, Bm, C, dt: Math.exp(logDt[d]!) };
}

/** 1 / (1 - dt Lambda / 2) */
const resolvent = ({ eigenvalues, dt }: Parameters): Complex[] =>
  eigenvalues.map((x) => over(complex(1), minus(complex(1), scaled(x, dt / 2))));

/** 1 + dt/2 P* G P over both halves, G the diagonal matrix of the resolvent g. */
const woodbury = ({ P, dt }: Parameters, g: Vector): number =>
  1 + dt * P.reduce((sum, x, n) => sum + square(x) * g[n]!.re, 0);

/**
 * The bilinear transform (arXiv 2111.00396 eq. 3) of A = Lambda - P P*, with (I - dt/2 A)^-1 by Woodbury's identity:
 * G - dt/2 G P P* G / w. Times I + dt/2 A it is again diagonal plus rank one: G (I + dt/2 Lambda) - dt/w G P P* G.
 */
function discretize(parameters: Parameters): Steps {
  const { eigenvalues, P, Bm, dt } = parameters;
  const g = resolvent(parameters);
  const w = woodbury(parameters, g);
  const a = g.map((x, n) => times(x, plus(complex(1), scaled(eigenvalues[n]!, dt / 2))));
  const p = g.map((x, n) => scaled(times(x, P[n]!), dt / w));
  const q = g.map((x, n) => times(x, conjugate(P[n]!)));
  const projection = pairSum(q, Bm);
  const b = g.map((x, n) => minus(scaled(times(x, Bm[n]!), dt), scaled(p[n]!, (dt / 2) * projection)));
  return { a, p, q, b };
}

interface Gradients extends Omit<Parameters, 'dt'> {
  readonly logDt: number;
}

/** The gradients of the parameters from those of the steps and of C. */
function pullBack(parameters: Parameters, steps: Steps, d: Steps, dC: Vector): Gradients {
  const { eigenvalues, P, Bm, dt } = parameters;
  const g = resolvent(parameters);
  const w = woodbury(parameters, g);
  const projection = pairSum(steps.q, Bm);
  // b = dt G B - dt/2 projection p
  const gB = g.map((x, n) => times(x, Bm[n]!));
  const onP = inner(d.b, steps.p);
  const dprojection = (-dt / 2) * onP;
  const dp = d.p.map((x, n) => minus(x, scaled(d.b[n]!, (dt / 2) * projection)));
  const dq = d.q.map((x, n) => plus(x, scaled(conjugate(Bm[n]!), 2 * dprojection)));
  let ddt = inner(d.b, gB) - (projection / 2) * onP;
  const dBm = d.b.map((x, n) =>
    plus(scaled(times(x, conjugate(g[n]!)), dt), scaled(conjugate(steps.q[n]!), 2 * dprojection)),
  );
  // p = dt / w G P
  const gP = g.map((x, n) => times(x, P[n]!));
  const dratio = inner(dp, gP);
  const dw = (-dratio * dt) / (w * w);
  ddt += dratio / w + (dw * (w - 1)) / dt;
  const dg: Complex[] = [];
  const dP: Complex[] = [];
  const dA: Complex[] = [];
  g.forEach((x, n) => {
    const dgP = scaled(dp[n]!, dt / w);
    const half = plus(complex(1), scaled(eigenvalues[n]!, dt / 2));
    // a = G (I + dt/2 Lambda);  q = G P*;  w = 1 + dt sum |P|^2 Re g
    dP.push(plus(plus(times(dgP, conjugate(x)), times(conjugate(dq[n]!), x)), scaled(P[n]!, 2 * dw * dt * x.re)));
    dg.push(
      [
        times(d.a[n]!, conjugate(half)),
        times(dgP, conjugate(P[n]!)),
        times(dq[n]!, P[n]!),
        scaled(times(d.b[n]!, conjugate(Bm[n]!)), dt),
        complex(dw * dt * square(P[n]!)),
      ].reduce(plus),
    );
    // g = 1 / (1 - z/2), z = dt Lambda
    const dz = scaled(plus(times(d.a[n]!, conjugate(x)), times(dg[n]!, conjugate(times(x, x)))), 0.5);
    ddt += times(dz, conjugate(eigenvalues[n]!)).re;
    dA.push(complex(dz.re * dt * eigenvalues[n]!.re, dz.im * dt));
  });
  return { eigenvalues: dA, P: dP, Bm: dBm, C: dC, logDt: ddt * dt };
}

const zeros = (N: number): Complex[] => Array.from({ length: N }, () => complex(0));

/** One step of the recurrence without the input. */
const advance = ({ a, p, q }: Steps, h: Vector): Complex[] => {
  const s = pairSum(q, h);
  return h.map((x, n) => minus(times(a[n]!, x), scaled(p[n]!, s)));
};

/** States before each step of a sequence, once a reset there was obeyed, and the last one. */
function states(steps: Steps, first: Vector, x: readonly number[], reset: (t: number) => boolean): Complex[][] {
  const before: Complex[][] = [];
  let h = [...first];
  x.forEach((value, t) => {
    if (reset(t)) h = zeros(h.length);
    before.push(h);
    h = advance(steps, h).map((y, n) => plus(y, scaled(steps.b[n]!, value)));
  });
  return [...before, h];
}

/** State of sequence b, channel d, from [B,2,N,D]. */
const readState = (x: Float64Array | null, b: number, d: number, N: number, D: number): Complex[] =>
  Array.from({ length: N }, (_, n) =>
    x ? { re: x[(2 * b * N + n) * D + d]!, im: x[((2 * b + 1) * N + n) * D + d]! } : complex(0),
  );

function addState(x: Float64Array, b: number, d: number, D: number, values: Vector): void {
  const N = values.length;
  values.forEach(({ re, im }, n) => {
    x[(2 * b * N + n) * D + d]! += re;
    x[((2 * b + 1) * N + n) * D + d]! += im;
  });
}

export const s4 = {
  s4ScanForward(y, stateOut, x, A, P, Bm, C, logDt, skip, stateIn, reset, B, T, N, D) {
    const [Y, X, Skip] = [floats(y, B * T * D), floats(x, B * T * D), optionalFloats(skip, D)];
    const arrays = [A, P, Bm, C].map((array) => floats(array, 2 * N * D));
    const [LogDt, R] = [floats(logDt, D), optionalFlags(reset, B * T)];
    const [Sin, Sout] = [optionalFloats(stateIn, 2 * B * N * D), optionalFloats(stateOut, 2 * B * N * D)];
    Sout?.fill(0, 0, 2 * B * N * D);
    for (let d = 0; d < D; d++) {
      const parameters = parametersOf(arrays, LogDt, d, N, D);
      const steps = discretize(parameters);
      for (let b = 0; b < B; b++) {
        const inputs = Array.from({ length: T }, (_, t) => X[(b * T + t) * D + d]!);
        const h = states(steps, readState(Sin, b, d, N, D), inputs, (t) => R?.[b * T + t] === 1);
        inputs.forEach((value, t) => {
          const after = advance(steps, h[t]!).map((z, n) => plus(z, scaled(steps.b[n]!, value)));
          Y[(b * T + t) * D + d] = pairSum(parameters.C, after) + (Skip?.[d] ?? 0) * value;
        });
        if (Sout) addState(Sout, b, d, D, h[T]!);
      }
    }
  },

  s4ScanBackward(
    dx,
    dA,
    dP,
    dBm,
    dC,
    dlogDt,
    dskip,
    dstateIn,
    dy,
    dstateOut,
    x,
    A,
    P,
    Bm,
    C,
    logDt,
    skip,
    stateIn,
    reset,
    B,
    T,
    N,
    D,
  ) {
    const gradients = [dA, dP, dBm, dC].map((array) => optionalFloats(array, 2 * N * D));
    const [DX, DSkip, DLogDt] = [optionalFloats(dx, B * T * D), optionalFloats(dskip, D), optionalFloats(dlogDt, D)];
    const [DSin, DSout] = [optionalFloats(dstateIn, 2 * B * N * D), optionalFloats(dstateOut, 2 * B * N * D)];
    const [DY, X, Skip] = [floats(dy, B * T * D), floats(x, B * T * D), optionalFloats(skip, D)];
    const arrays = [A, P, Bm, C].map((array) => floats(array, 2 * N * D));
    const [LogDt, Sin, R] = [floats(logDt, D), optionalFloats(stateIn, 2 * B * N * D), optionalFlags(reset, B * T)];
    for (let d = 0; d < D; d++) {
      const parameters = parametersOf(arrays, LogDt, d, N, D);
      const steps = discretize(parameters);
      const sums = { a: zeros(N), p: zeros(N), q: zeros(N), b: zeros(N), C: zeros(N) };
      const add = (sum: Complex[], n: number, value: Complex): void => {
        sum[n] = plus(sum[n]!, value);
      };
      for (let b = 0; b < B; b++) {
        const isReset = (t: number): boolean => R?.[b * T + t] === 1;
        const inputs = Array.from({ length: T }, (_, t) => X[(b * T + t) * D + d]!);
        const before = states(steps, readState(Sin, b, d, N, D), inputs, isReset);
        let g = readState(DSout, b, d, N, D);
        for (let t = T - 1; t >= 0; t--) {
          const at = (b * T + t) * D + d;
          const [dy_, value, h] = [DY[at]!, inputs[t]!, before[t]!];
          const after = advance(steps, h).map((z, n) => plus(z, scaled(steps.b[n]!, value)));
          // y = S(C, h') + skip x
          g = g.map((z, n) => plus(z, scaled(conjugate(parameters.C[n]!), 2 * dy_)));
          after.forEach((z, n) => add(sums.C, n, scaled(conjugate(z), 2 * dy_)));
          if (DSkip) DSkip[d]! += dy_ * value;
          if (DX) DX[at]! += inner(g, steps.b) + (Skip?.[d] ?? 0) * dy_;
          // h' = a h - p S(q, h) + b x
          const s = pairSum(steps.q, h);
          const ds = -inner(g, steps.p);
          g.forEach((z, n) => {
            add(sums.b, n, scaled(z, value));
            add(sums.a, n, times(z, conjugate(h[n]!)));
            add(sums.p, n, scaled(z, -s));
            add(sums.q, n, scaled(conjugate(h[n]!), 2 * ds));
          });
          g = isReset(t)
            ? zeros(N)
            : g.map((z, n) => plus(times(z, conjugate(steps.a[n]!)), scaled(conjugate(steps.q[n]!), 2 * ds)));
        }
        if (DSin) addState(DSin, b, d, D, g);
      }
      const found = pullBack(parameters, steps, sums, sums.C);
      [found.eigenvalues, found.P, found.Bm, found.C].forEach((values, k) => {
        const into = gradients[k];
        if (into) addState(into, 0, d, D, values);
      });
      if (DLogDt) DLogDt[d]! += found.logDt;
    }
  },
} satisfies Partial<Kernels>;

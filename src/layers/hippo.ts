/**
 * @file The HiPPO-LegS matrix (arXiv 2008.07669 eq. 29) as S4 takes it apart: normal plus rank one, in the basis in which the
 * normal part is diagonal (arXiv 2111.00396 app. C.1). Numbers for initial values, computed once on the host.
 */

interface Complex {
  readonly re: number;
  readonly im: number;
}

/**
 * A = V (diag(Lambda) - P P*) V* and B in that basis, for the half of the eigenvalues with negative imaginary part; the
 * other half are their conjugates.
 */
export interface HippoLegs {
  /** Lambda, the nearest to the real axis first; all real parts are -1/2. */
  readonly eigenvalues: readonly Complex[];
  readonly P: readonly Complex[];
  readonly B: readonly Complex[];
}

/** A Hermitian matrix by rows, real and imaginary parts; rotated in place. */
interface Hermitian {
  readonly n: number;
  readonly re: Float64Array;
  readonly im: Float64Array;
}

/** Rows (or, with `stride` n, columns) p and q of (re, im) times a plane rotation with phase: c, s (cosine, sine), u. */
function rotate(
  { n, re, im }: Hermitian,
  start: readonly [number, number],
  stride: number,
  [c, s]: readonly [number, number],
  phase: Complex,
): void {
  for (let k = 0; k < n; k++) {
    const [i, j] = [start[0] + k * stride, start[1] + k * stride];
    const [a, b, x, y] = [re[i]!, im[i]!, re[j]!, im[j]!];
    // The phase makes the pivot real, then the rotation makes it zero.
    const [xr, yr] = [x * phase.re - y * phase.im, x * phase.im + y * phase.re];
    re[i] = c * a - s * xr;
    im[i] = c * b - s * yr;
    re[j] = s * a + c * xr;
    im[j] = s * b + c * yr;
  }
}

/** Eigenvalues and eigenvectors (columns of V) of a Hermitian matrix, by cyclic Jacobi rotations. */
function eigenHermitian(H: Hermitian): { values: Float64Array; V: Hermitian } {
  const { n, re, im } = H;
  const V: Hermitian = { n, re: new Float64Array(n * n), im: new Float64Array(n * n) };
  for (let k = 0; k < n; k++) V.re[k * n + k] = 1;
  for (let sweep = 0; sweep < 30; sweep++) {
    let rest = 0;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const [x, y] = [re[p * n + q]!, im[p * n + q]!];
        const size = Math.hypot(x, y);
        rest += size * size;
        if (size < 1e-300) continue;
        const theta = (re[q * n + q]! - re[p * n + p]!) / (2 * size);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
        const c = 1 / Math.hypot(t, 1);
        const rotation = [c, t * c] as const;
        // H := R* H R and V := V R with column q turned by the conjugate phase of the pivot.
        rotate(H, [p, q], n, rotation, { re: x / size, im: -y / size });
        rotate(V, [p, q], n, rotation, { re: x / size, im: -y / size });
        rotate(H, [p * n, q * n], 1, rotation, { re: x / size, im: y / size });
      }
    }
    if (rest < 1e-28 * n * n) break;
  }
  return { values: Float64Array.from({ length: n }, (_, k) => re[k * n + k]!), V };
}

const known = new Map<number, HippoLegs>();

/**
 * The parts of HiPPO-LegS of N states, N even.
 * @throws RangeError for an odd N.
 */
export function hippoLegs(N: number): HippoLegs {
  if (N % 2 !== 0 || N < 2) throw new RangeError(`hippoLegs: the number of states must be even, got ${N}`);
  const before = known.get(N);
  if (before !== undefined) return before;
  // A + P P^T = -I/2 + S with S skew-symmetric, P_n = sqrt(n + 1/2): -i S is Hermitian, with eigenvalues Im Lambda.
  const H: Hermitian = { n: N, re: new Float64Array(N * N), im: new Float64Array(N * N) };
  const b = Array.from({ length: N }, (_, n) => Math.sqrt(2 * n + 1));
  for (let n = 0; n < N; n++)
    for (let k = 0; k < N; k++) if (n !== k) H.im[n * N + k] = ((n > k ? 1 : -1) * b[n]! * b[k]!) / 2;
  const { values, V } = eigenHermitian(H);
  const order = Array.from(values.keys())
    .filter((k) => values[k]! < 0)
    .sort((i, j) => values[j]! - values[i]!);
  /** V* x */
  const project = (x: readonly number[]): Complex[] =>
    order.map((k) => {
      let [re, im] = [0, 0];
      for (let n = 0; n < N; n++) {
        re += V.re[n * N + k]! * x[n]!;
        im -= V.im[n * N + k]! * x[n]!;
      }
      return { re, im };
    });
  const parts: HippoLegs = {
    eigenvalues: order.map((k) => ({ re: -0.5, im: values[k]! })),
    P: project(b.map((x) => x / Math.SQRT2)),
    B: project(b),
  };
  known.set(N, parts);
  return parts;
}

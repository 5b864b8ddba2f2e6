/**
 * @file The part of the device contract that state-space models are made of: the long convolution, discretisation, kernels,
 * and recurrences. The rules of the contract and its letters are in `kernels.ts`.
 */
import type { DeviceBuffer } from './kernels.js';

/** How a state-space model keeps the real part of A in its parameter a: -exp(a), a, or min(a, -1e-4). */
export const SsmRealPart = { negativeExp: 0, free: 1, clamped: 2 } as const;
export type SsmRealPart = (typeof SsmRealPart)[keyof typeof SsmRealPart];

type Buf = DeviceBuffer;
type Opt = DeviceBuffer | null;

export interface StateSpaceKernels {
  /**
   * Long convolution, one filter of K taps per channel; every document stands alone:
   *   y[b,t,d] = skip[d] x[b,t,d] + sum_j kernel[j,d] x[b,t-j,d], j in 0..K-1 with t-j in the document of t;
   * with `reversed` the sum runs over x[b,t+j,d]. A device may compute it by Fourier transforms, with rounding errors
   * relative to the largest outputs of a document.
   */
  longConvForward(y: Buf /* [B,T,D] */, x: Buf /* [B,T,D] */, kernel: Buf /* [K,D] */, skip: Opt /* [D] */,
    reset: Opt /* [B,T] uint8 */, B: number, T: number, D: number, K: number, reversed: boolean): void;
  longConvBackward(dx: Opt /* [B,T,D] */, dkernel: Opt /* [K,D] */, dskip: Opt /* [D] */, dy: Buf /* [B,T,D] */,
    x: Buf /* [B,T,D] */, kernel: Buf /* [K,D] */, skip: Opt /* [D] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, D: number, K: number, reversed: boolean): void;

  /**
   * A diagonal state-space model x' = A x + u, y = Re(C x) made discrete by zero-order hold with steps of dt = exp(logDt):
   *   z = dt A,  c = scale C (e^z - 1) / A,
   * so that its kernel is that of `ssmKernelForward`. A holds the parameter of the real part (SsmRealPart) and the
   * imaginary part. With L > 0 the softmax form of DSS (arXiv 2203.14343 eq. 8): c is divided by e^(L z) - 1 (by
   * x / (|x|^2 + 1e-7) in place of 1 / x), and where Re z > 0 the term is shifted by its last power, for `anchored`.
   * Complex arrays are [2,N,D]: real parts, then imaginary parts.
   */
  ssmDiscretizeForward(c: Buf /* [2,N,D] */, z: Buf /* [2,N,D] */, A: Buf /* [2,N,D] */, C: Buf /* [2,N,D] */,
    logDt: Buf /* [D] */, N: number, D: number, realPart: SsmRealPart, L: number, scale: number): void;
  ssmDiscretizeBackward(dA: Opt /* [2,N,D] */, dC: Opt /* [2,N,D] */, dlogDt: Opt /* [D] */, dc: Buf /* [2,N,D] */,
    dz: Buf /* [2,N,D] */, A: Buf /* [2,N,D] */, C: Buf /* [2,N,D] */, logDt: Buf /* [D] */, N: number, D: number,
    realPart: SsmRealPart, L: number, scale: number): void;
  /**
   * kernel[l,d] = sum_n Re(c[n,d] exp((l - s) z[n,d])), l < L, with s = 0; with `anchored`, s = L-1 where Re z > 0, so
   * that no power grows. A device may overflow where 32 Re z > 80.
   */
  ssmKernelForward(kernel: Buf /* [L,D] */, c: Buf /* [2,N,D] */, z: Buf /* [2,N,D] */, L: number, N: number, D: number,
    anchored: boolean): void;
  ssmKernelBackward(dc: Opt /* [2,N,D] */, dz: Opt /* [2,N,D] */, dkernel: Buf /* [L,D] */, c: Buf /* [2,N,D] */,
    z: Buf /* [2,N,D] */, L: number, N: number, D: number, anchored: boolean): void;
  /**
   * The same model as a recurrence: h[t] = e^z h[t-1] + x[t], y[t] = skip x[t] + sum_n Re(c h[t]), from the state before
   * the first step (zero if null). Equals `longConvForward` with the kernel above, from a zero state.
   */
  diagonalScanForward(y: Buf /* [B,T,D] */, stateOut: Opt /* [B,2,N,D] */, x: Buf /* [B,T,D] */, c: Buf /* [2,N,D] */,
    z: Buf /* [2,N,D] */, skip: Opt /* [D] */, stateIn: Opt /* [B,2,N,D] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, N: number, D: number): void;
  diagonalScanBackward(dx: Opt /* [B,T,D] */, dc: Opt /* [2,N,D] */, dz: Opt /* [2,N,D] */, dskip: Opt /* [D] */,
    dstateIn: Opt /* [B,2,N,D] */, dy: Buf /* [B,T,D] */, dstateOut: Opt /* [B,2,N,D] */, x: Buf /* [B,T,D] */,
    c: Buf /* [2,N,D] */, z: Buf /* [2,N,D] */, skip: Opt /* [D] */, stateIn: Opt /* [B,2,N,D] */,
    reset: Opt /* [B,T] uint8 */, B: number, T: number, N: number, D: number): void;

  /**
   * S4 (arXiv 2111.00396): x' = A h + Bm x, y = 2 Re(C h) + skip x with A = diag(Lambda) - P P*, Re Lambda = -exp(A[0]),
   * Im Lambda = A[1], each of N modes standing for a conjugate pair; the bilinear transform with steps exp(logDt) makes it
   * h[t] = A_bar h[t-1] + B_bar x[t]. Its kernel for `longConvForward` is the answer to an impulse.
   */
  s4ScanForward(y: Buf /* [B,T,D] */, stateOut: Opt /* [B,2,N,D] */, x: Buf /* [B,T,D] */, A: Buf /* [2,N,D] */,
    P: Buf /* [2,N,D] */, Bm: Buf /* [2,N,D] */, C: Buf /* [2,N,D] */, logDt: Buf /* [D] */, skip: Opt /* [D] */,
    stateIn: Opt /* [B,2,N,D] */, reset: Opt /* [B,T] uint8 */, B: number, T: number, N: number, D: number): void;
  s4ScanBackward(dx: Opt /* [B,T,D] */, dA: Opt /* [2,N,D] */, dP: Opt /* [2,N,D] */, dBm: Opt /* [2,N,D] */,
    dC: Opt /* [2,N,D] */, dlogDt: Opt /* [D] */, dskip: Opt /* [D] */, dstateIn: Opt /* [B,2,N,D] */,
    dy: Buf /* [B,T,D] */, dstateOut: Opt /* [B,2,N,D] */, x: Buf /* [B,T,D] */, A: Buf /* [2,N,D] */,
    P: Buf /* [2,N,D] */, Bm: Buf /* [2,N,D] */, C: Buf /* [2,N,D] */, logDt: Buf /* [D] */, skip: Opt /* [D] */,
    stateIn: Opt /* [B,2,N,D] */, reset: Opt /* [B,T] uint8 */, B: number, T: number, N: number, D: number): void;
}

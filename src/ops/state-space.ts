/**
 * @file Diagonal state-space models: from continuous time to steps, to a kernel for `longConv`, and to a recurrence with a
 * state. Complex tensors are [2,N,D]: the real parts of N modes for D channels, then the imaginary parts.
 */
import { SsmRealPart } from '../device/kernels-state-space.js';
import { checkShape, formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

/** A model in steps: y[t] = sum_n Re(c h[t]), h[t] = e^z h[t-1] + x[t]. */
export interface DiagonalModel {
  /** [2,N,D] */
  readonly c: Tensor;
  /** [2,N,D] */
  readonly z: Tensor;
}

export interface SsmDiscretizeOptions {
  /** How A holds its real part: see `SsmRealPart`. Default negativeExp. */
  readonly realPart?: keyof typeof SsmRealPart;
  /** A factor on c: 2 where each mode stands for a conjugate pair. Default 1. */
  readonly scale?: number;
  /** The softmax form of DSS over this many steps; its kernel is `anchored` and has no recurrence. Default 0: none. */
  readonly softmaxLength?: number;
}

/** N and D of a complex tensor. */
function modes(op: string, name: string, x: Tensor): [N: number, D: number] {
  if (x.shape.length !== 3 || x.shape[0] !== 2) {
    throw new RangeError(`${op}: ${name} must be [2,N,D], got ${formatShape(x.shape)}`);
  }
  return [x.shape[1]!, x.shape[2]!];
}

const wanted = (t: Tensor | null) => (t?.requiresGrad ? t.grad : null);

/**
 * Zero-order hold (arXiv 2206.11893 eq. 4) with steps exp(logDt): z = dt A and c = scale C (e^z - 1) / A.
 * @param A      [2,N,D], the parameter of the real part and the imaginary part
 * @param C      [2,N,D], output times input weights
 * @param logDt  [D]
 * @throws RangeError when the shapes do not fit.
 */
export function ssmDiscretize(
  A: Tensor,
  C: Tensor,
  logDt: Tensor,
  { realPart = 'negativeExp', scale = 1, softmaxLength = 0 }: SsmDiscretizeOptions = {},
): DiagonalModel {
  const [N, D] = modes('ssmDiscretize', 'A', A);
  checkShape('ssmDiscretize: C', C.shape, A.shape);
  checkShape('ssmDiscretize: logDt', logDt.shape, [D]);
  const { device } = A;
  const [c, z] = [Tensor.output(device, A.shape), Tensor.output(device, A.shape)];
  const inputs = [A.buffer, C.buffer, logDt.buffer] as const;
  const sizes = [N, D, SsmRealPart[realPart], softmaxLength, scale] as const;
  device.kernels.ssmDiscretizeForward(c.buffer, z.buffer, ...inputs, ...sizes);
  if (isRecorded([A, C, logDt])) {
    record('ssmDiscretize', [c, z], [], () => {
      const gradients = [wanted(A), wanted(C), wanted(logDt)] as const;
      device.kernels.ssmDiscretizeBackward(...gradients, c.grad, z.grad, ...inputs, ...sizes);
    });
  }
  return { c, z };
}

/**
 * The model's kernel for `longConv`: kernel[l,d] = sum_n Re(c e^(l z)), l < L.
 * @param anchored  as `ssmDiscretize` with `softmaxLength` needs it. Default false.
 * @returns         [L,D]
 * @throws RangeError when the shapes do not fit.
 */
export function ssmKernel({ c, z }: DiagonalModel, L: number, anchored = false): Tensor {
  const [N, D] = modes('ssmKernel', 'c', c);
  checkShape('ssmKernel: z', z.shape, c.shape);
  const { device } = c;
  const kernel = Tensor.output(device, [L, D]);
  const rest = [c.buffer, z.buffer, L, N, D, anchored] as const;
  device.kernels.ssmKernelForward(kernel.buffer, ...rest);
  if (isRecorded([c, z])) {
    record('ssmKernel', [kernel], [], ([dkernel]) =>
      device.kernels.ssmKernelBackward(wanted(c), wanted(z), dkernel!, ...rest),
    );
  }
  return kernel;
}

export interface DiagonalScanOptions {
  /** [D]: y gets skip[d] x[b,t,d] too. Default none. */
  readonly skip?: Tensor | null;
  /** [B,2,N,D]; null for zeros. */
  readonly state?: Tensor | null;
  readonly reset?: Reset;
}

/**
 * The model as a recurrence: what `longConv` with `ssmKernel` gives, and with the state before and after.
 * @param x  [B,T,D]
 * @returns  y [B,T,D] and the state after the last step [B,2,N,D]
 * @throws RangeError when the shapes do not fit.
 */
export function diagonalScan(x: Tensor, { c, z }: DiagonalModel, options: DiagonalScanOptions = {}): [Tensor, Tensor] {
  const { skip = null, state = null, reset = null } = options;
  if (x.shape.length !== 3) throw new RangeError(`diagonalScan: x must be [B,T,D], got ${formatShape(x.shape)}`);
  const [B, T, D] = x.shape as [number, number, number];
  const [N] = modes('diagonalScan', 'c', c);
  checkShape('diagonalScan: c', c.shape, [2, N, D]);
  checkShape('diagonalScan: z', z.shape, [2, N, D]);
  if (skip !== null) checkShape('diagonalScan: skip', skip.shape, [D]);
  if (state !== null) checkShape('diagonalScan: state', state.shape, [B, 2, N, D]);
  checkReset('diagonalScan', reset, B, T);

  const { device } = x;
  const y = Tensor.output(device, x.shape);
  const last = Tensor.output(device, [B, 2, N, D]);
  const optional = [skip?.buffer ?? null, state?.buffer ?? null, reset?.buffer ?? null] as const;
  const rest = [x.buffer, c.buffer, z.buffer, ...optional, B, T, N, D] as const;
  device.kernels.diagonalScanForward(y.buffer, last.buffer, ...rest);
  if (isRecorded([x, c, z, skip, state])) {
    record('diagonalScan', [y, last], [], ([, dlast]) => {
      const gradients = [wanted(x), wanted(c), wanted(z), wanted(skip), wanted(state)] as const;
      device.kernels.diagonalScanBackward(...gradients, y.grad, dlast!, ...rest);
    });
  }
  return [y, last];
}

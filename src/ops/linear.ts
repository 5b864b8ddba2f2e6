/** @file Linear maps: dense, dense over several inputs side by side, and block-diagonal (head-wise). */
import type { Device } from '../device/device.js';
import { Activation, type DeviceBuffer } from '../device/kernels.js';
import { currentScope } from '../tensor/scope.js';
import { checkShape, formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor, type FloatDtype } from '../tensor/tensor.js';

export interface LinearOptions {
  /** How the result is stored; default as x. Sums of bf16 products are float, and are rounded to bf16 only then. */
  readonly output?: FloatDtype | undefined;
}

/**
 * y = x weight^T + bias.
 * @param x       [...,I]
 * @param weight  [O,I], which may be packed
 * @param bias    [O] or null
 * @returns       [...,O]
 * @throws RangeError when the shapes do not fit; Error where gradients are recorded through a packed weight.
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null = null, options: LinearOptions = {}): Tensor {
  return weight.packing === null ? linearConcat([x], weight, bias, options) : linearPacked(x, weight, bias);
}

/** `linear` by a packed weight, which has no gradient. */
function linearPacked(x: Tensor, weight: Tensor, bias: Tensor | null): Tensor {
  const [O, I] = weight.shape as [number, number];
  const { format, group } = weight.packing!;
  if (x.extent(-1) !== I) {
    throw new RangeError(`linear: weight must be [O,${x.extent(-1)}] to match x, got ${formatShape(weight.shape)}`);
  }
  if (bias !== null) checkShape('linear: bias', bias.shape, [O]);
  if (isRecorded([x, bias])) throw new Error('linear: a packed weight has no gradient; open the model to be trained');
  const { device } = x;
  const y = Tensor.outputLike(x, [...x.shape.slice(0, -1), O]);
  const N = x.size / Math.max(I, 1);
  device.kernels.linearPacked(y.buffer, x.buffer, weight.buffer, bias?.buffer ?? null, N, O, I, format, group);
  return y;
}

/**
 * y = concat(xs) weight^T + bias, without making the concatenation.
 * @param xs      tensors [...,I_j] with equal leading axes
 * @param weight  [O, sum of I_j]
 * @param bias    [O] or null
 * @returns       [...,O]
 * @throws RangeError when the shapes do not fit.
 */
export function linearConcat(
  xs: readonly Tensor[],
  weight: Tensor,
  bias: Tensor | null = null,
  { output }: LinearOptions = {},
): Tensor {
  const first = xs[0]!;
  const { device } = first;
  const { kernels } = device;
  const lead = first.shape.slice(0, -1);
  const I = xs.reduce((total, x) => total + x.extent(-1), 0);
  const O = weight.extent(0);
  if (weight.shape.length !== 2 || weight.extent(1) !== I) {
    throw new RangeError(`linear: weight must be [O,${I}] to match x [...,${I}], got ${formatShape(weight.shape)}`);
  }
  for (const x of xs) checkShape('linear: leading axes of every input', x.shape.slice(0, -1), lead);
  if (bias !== null) checkShape('linear: bias', bias.shape, [O]);

  const N = first.size / Math.max(first.extent(-1), 1);
  const y = Tensor.output(device, [...lead, O], output ?? first.floatDtype);
  const matrix = first.dtype === 'bf16' ? weight.asBf16() : weight.buffer;
  const columns = columnRanges(xs).map((range) => ({ ...range, block: columnsFrom(device, matrix, range.start) }));
  columns.forEach(({ x, width, block }, j) => {
    const b = j === 0 ? (bias?.buffer ?? null) : null;
    kernels.matmul(y.buffer, x.buffer, block, b, N, O, width, false, true, width, I, O, j > 0, Activation.none);
  });
  if (isRecorded([...xs, weight, bias])) {
    record('linear', [y], [], ([dy]) => {
      if (bias?.requiresGrad) kernels.biasBackward(bias.grad, dy!, N, O);
      const cotangent = y.dtype === first.dtype ? dy! : castCopy(device, dy!, first.floatDtype);
      const gradient = weight.requiresGrad ? weight.grad : null;
      const none = Activation.none;
      columns.forEach(({ x, start, width, block }) => {
        // y = x W^T, so dx = dy W and dW = dy^T x
        if (x.requiresGrad) {
          const fresh = x.freshGrad;
          const [dx, adds] = [fresh ?? x.grad, fresh === null];
          kernels.matmul(dx, cotangent, block, null, N, width, O, false, false, O, I, width, adds, none);
        }
        if (gradient === null) return;
        const dW = columnsFrom(device, gradient, start);
        kernels.matmul(dW, cotangent, x.buffer, null, O, width, N, true, false, O, width, I, true, none);
      });
      if (cotangent !== dy) currentScope(device).release(cotangent);
    });
  }
  return y;
}

/** The columns of a matrix [O,I] from one on: a view from its first element, with the row stride I. */
const columnsFrom = (device: Device, matrix: DeviceBuffer, start: number): DeviceBuffer =>
  start === 0 ? matrix : device.view(matrix, start, matrix.length - start);

/** Which columns of a matrix belong to each input. */
function columnRanges(xs: readonly Tensor[]) {
  let end = 0;
  return xs.map((x) => {
    const width = x.extent(-1);
    const start = end;
    end += width;
    return { x, start, width };
  });
}

/** A copy in the current scope, stored otherwise. */
function castCopy(device: Device, x: DeviceBuffer, dtype: FloatDtype): DeviceBuffer {
  const copy = currentScope(device).alloc(dtype, x.length);
  device.cast(copy, x);
  return copy;
}

/**
 * Block-diagonal linear map: each of G groups of the input has its own [O,I] matrix.
 * @param x       [...,G*I]
 * @param weight  [G,O,I]
 * @param bias    [G*O] or null
 * @returns       [...,G*O]
 * @throws RangeError when the shapes do not fit.
 */
export function headwiseLinear(x: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  const [G, O, I] = weight.shape as [number, number, number];
  if (weight.shape.length !== 3 || x.extent(-1) !== G * I) {
    throw new RangeError(
      `headwiseLinear: weight must be [G,O,I] with G*I = ${x.extent(-1)} to match x, got ${formatShape(weight.shape)}`,
    );
  }
  if (bias !== null) checkShape('headwiseLinear: bias', bias.shape, [G * O]);
  const { device } = x;
  const N = x.size / (G * I);
  const y = Tensor.outputLike(x, [...x.shape.slice(0, -1), G * O]);
  device.kernels.headwiseLinearForward(y.buffer, x.buffer, weight.buffer, bias?.buffer ?? null, N, G, O, I);
  if (isRecorded([x, weight, bias])) {
    record('headwiseLinear', [y], [], ([dy]) => {
      const dx = x.requiresGrad ? x.grad : null;
      const dbias = bias?.requiresGrad ? bias.grad : null;
      device.kernels.headwiseLinearBackward(dx, weight.grad, dbias, dy!, x.buffer, weight.buffer, N, G, O, I);
    });
  }
  return y;
}

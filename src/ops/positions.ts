/** @file Positions of steps within their documents, and the rotary embedding of heads by position. */
import type { Device } from '../device/device.js';
import { checkShape, formatShape } from '../tensor/shape.js';
import { currentScope } from '../tensor/scope.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

export interface PositionOptions {
  /** [B]: the position of the first step; null for 0. */
  readonly state?: Tensor | null;
  readonly reset?: Reset;
}

/**
 * Steps since the document of each step began.
 * @returns int32 [B,T], and the position of the step after the last [B]
 * @throws RangeError when the shapes do not fit.
 */
export function positions(device: Device, B: number, T: number, options: PositionOptions = {}): [Tensor, Tensor] {
  const { state = null, reset = null } = options;
  if (state !== null) checkShape('positions: state', state.shape, [B]);
  checkReset('positions', reset, B, T);
  const y = new Tensor(device, [B, T], currentScope(device).alloc('int32', B * T));
  const next = Tensor.output(device, [B]);
  device.kernels.positions(y.buffer, next.buffer, state?.buffer ?? null, reset?.buffer ?? null, B, T);
  return [y, next];
}

/** @throws TypeError or RangeError when `positions` is not int32 [B,T]. */
export function checkPositions(op: string, positions: Tensor, B: number, T: number): void {
  if (positions.dtype !== 'int32') throw new TypeError(`${op}: positions must be int32, got ${positions.dtype}`);
  checkShape(`${op}: positions`, positions.shape, [B, T]);
}

/**
 * Rotary embedding: pairs (d, d + DH/2) of each head turned by position * theta^(-2d/DH).
 * @param x  [B,T,NH*DH], DH even
 * @throws RangeError when the shapes do not fit.
 * @see Su et al. 2021, arXiv 2104.09864 eq. 34; the order of the halves is Llama's
 */
export function rope(x: Tensor, positions: Tensor, heads: number, theta = 10_000): Tensor {
  if (x.shape.length !== 3) throw new RangeError(`rope: x must be [B,T,NH*DH], got ${formatShape(x.shape)}`);
  const [B, T, D] = x.shape as [number, number, number];
  const DH = D / heads;
  if (!Number.isInteger(DH / 2)) {
    throw new RangeError(`rope: heads must have an even width, got ${heads} heads in a width of ${D}`);
  }
  checkPositions('rope', positions, B, T);
  const { device } = x;
  const y = Tensor.outputLike(x);
  device.kernels.ropeForward(y.buffer, x.buffer, positions.buffer, B * T, heads, DH, theta);
  if (isRecorded([x])) {
    record('rope', [y], [], ([dy]) => {
      device.kernels.ropeBackward(x.grad, dy!, positions.buffer, B * T, heads, DH, theta);
    });
  }
  return y;
}

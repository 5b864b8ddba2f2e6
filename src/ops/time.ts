/** @file Stretches of time: taking one out of a sequence, and setting two behind each other. Copies, no views. */
import type { DeviceBuffer } from '../device/kernels.js';
import { checkShape, formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/** Calls body(offset in the longer buffer, offset in the shorter, elements) for the rows of a stretch of the longer. */
function eachStretch(
  [B, D]: readonly [number, number],
  longer: { readonly steps: number; readonly from: number },
  steps: number,
  body: (longer: number, shorter: number, length: number) => void,
): void {
  if (steps === 0) return;
  for (let b = 0; b < B; b++) body((b * longer.steps + longer.from) * D, b * steps * D, steps * D);
}

/**
 * Steps `from` to `to` (not included) of x [B,T,D].
 * @throws RangeError when they are not within 0..T.
 */
export function sliceTime(x: Tensor, from: number, to: number): Tensor {
  if (x.shape.length !== 3) throw new RangeError(`sliceTime: x must be [B,T,D], got ${formatShape(x.shape)}`);
  const [B, T, D] = x.shape as [number, number, number];
  if (from < 0 || to < from || to > T) throw new RangeError(`sliceTime: ${from}..${to} is not within 0..${T}`);
  const { device } = x;
  const y = Tensor.outputLike(x, [B, to - from, D]);
  const view = (buffer: DeviceBuffer, at: number, length: number) => device.view(buffer, at, length);
  eachStretch([B, D], { steps: T, from }, to - from, (at, own, n) =>
    device.kernels.copy(view(y.buffer, own, n), view(x.buffer, at, n), n),
  );
  if (isRecorded([x])) {
    record('sliceTime', [y], [], ([dy]) =>
      eachStretch([B, D], { steps: T, from }, to - from, (at, own, n) =>
        device.kernels.accumulate(view(x.grad, at, n), view(dy!, own, n), 1, n),
      ),
    );
  }
  return y;
}

/** The last of the T >= 1 steps of x [B,T,D]: [B,1,D], which is x where it has no other. @throws RangeError as sliceTime. */
export function lastStep(x: Tensor): Tensor {
  const T = x.extent(1);
  return T === 1 ? x : sliceTime(x, T - 1, T);
}

/**
 * `after` [B,T,D] behind `before` [B,S,D]: [B,S+T,D].
 * @throws RangeError when B or D differ.
 */
export function joinTime(before: Tensor, after: Tensor): Tensor {
  if (after.shape.length !== 3)
    throw new RangeError(`joinTime: after must be [B,T,D], got ${formatShape(after.shape)}`);
  const [B, T, D] = after.shape as [number, number, number];
  const S = before.shape[1] ?? 0;
  checkShape('joinTime: before', before.shape, [B, S, D]);
  const { device } = after;
  const y = Tensor.outputLike(after, [B, S + T, D]);
  const view = (buffer: DeviceBuffer, at: number, length: number) => device.view(buffer, at, length);
  const parts = [
    { part: before, from: 0, steps: S },
    { part: after, from: S, steps: T },
  ];
  for (const { part, from, steps } of parts) {
    eachStretch([B, D], { steps: S + T, from }, steps, (at, own, n) =>
      device.kernels.copy(view(y.buffer, at, n), view(part.buffer, own, n), n),
    );
  }
  if (isRecorded([before, after])) {
    record('joinTime', [y], [], ([dy]) => {
      for (const { part, from, steps } of parts) {
        if (!part.requiresGrad) continue;
        eachStretch([B, D], { steps: S + T, from }, steps, (at, own, n) =>
          device.kernels.accumulate(view(part.grad, own, n), view(dy!, at, n), 1, n),
        );
      }
    });
  }
  return y;
}

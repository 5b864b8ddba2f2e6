/** @file Elementwise ops: sum and product of two tensors, activations, and the two gated forms of the blocks. */
import { Activation } from '../device/kernels.js';
import { checkShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { checkSameShape, Tensor } from '../tensor/tensor.js';

export type ActivationName = Exclude<keyof typeof Activation, 'none'>;

/** a + b, equal shapes. @throws RangeError when they differ. */
export function add(a: Tensor, b: Tensor): Tensor {
  checkSameShape('add: b', a, b);
  const { device } = a;
  const y = Tensor.outputLike(a);
  device.kernels.add(y.buffer, a.buffer, b.buffer, y.size);
  if (isRecorded([a, b])) {
    record('add', [y], [], () => {
      if (a.requiresGrad) a.addGradOf(y);
      if (b.requiresGrad) b.addGradOf(y);
    });
  }
  return y;
}

/** a - b, equal shapes. @throws RangeError when they differ. */
export function subtract(a: Tensor, b: Tensor): Tensor {
  checkSameShape('subtract: b', a, b);
  const { device } = a;
  const y = Tensor.outputLike(a);
  device.kernels.copy(y.buffer, a.buffer, y.size);
  device.kernels.accumulate(y.buffer, b.buffer, -1, y.size);
  if (isRecorded([a, b])) {
    record('subtract', [y], [], ([dy]) => {
      if (a.requiresGrad) a.addGradOf(y);
      if (b.requiresGrad) b.addGrad(dy!, -1);
    });
  }
  return y;
}

/** factor * x + offset. */
export function scaled(x: Tensor, factor: number, offset = 0): Tensor {
  const { device } = x;
  const y = Tensor.outputLike(x);
  device.kernels.fill(y.buffer, offset, y.size);
  device.kernels.accumulate(y.buffer, x.buffer, factor, y.size);
  if (isRecorded([x])) {
    record('scaled', [y], [], ([dy]) => x.addGrad(dy!, factor));
  }
  return y;
}

/** a * b elementwise, equal shapes. @throws RangeError when they differ. */
export function mul(a: Tensor, b: Tensor): Tensor {
  checkSameShape('mul: b', a, b);
  const { device } = a;
  const y = Tensor.outputLike(a);
  device.kernels.mulForward(y.buffer, a.buffer, b.buffer, y.size);
  if (isRecorded([a, b])) {
    record('mul', [y], [], ([dy]) => {
      const da = a.requiresGrad ? a.grad : null;
      const db = b.requiresGrad ? b.grad : null;
      device.kernels.mulBackward(da, db, dy!, a.buffer, b.buffer, y.size);
    });
  }
  return y;
}

/** Applies an activation to each element. GELU is the exact x * Phi(x). */
export function activate(x: Tensor, activation: ActivationName): Tensor {
  const { device } = x;
  const kind = Activation[activation];
  const y = Tensor.outputLike(x);
  device.kernels.activationForward(y.buffer, x.buffer, y.size, kind);
  if (isRecorded([x])) {
    record('activate', [y], [], ([dy]) => device.kernels.activationBackward(x.grad, dy!, x.buffer, y.size, kind));
  }
  return y;
}

/** activation(gate) * up, equal shapes: the middle of a gated feed-forward layer (Shazeer, arXiv 2002.05202). */
export function gatedActivation(gate: Tensor, up: Tensor, activation: ActivationName): Tensor {
  checkSameShape('gatedActivation: up', gate, up);
  const { device } = gate;
  const kind = Activation[activation];
  const y = Tensor.outputLike(gate);
  device.kernels.gatedActivationForward(y.buffer, gate.buffer, up.buffer, y.size, kind);
  if (isRecorded([gate, up])) {
    record('gatedActivation', [y], [], ([dy]) =>
      device.kernels.gatedActivationBackward(gate.grad, up.grad, dy!, gate.buffer, up.buffer, y.size, kind),
    );
  }
  return y;
}

/**
 * (h + skip * c) * SiLU(z): learnable skip and output gate of the mLSTM block (arXiv 2405.04517 fig. 11; SiLU as in the
 * published code, where eq. 27 has a sigmoid).
 * @param h     [...,D] normalised cell output
 * @param c     [...,D] convolution output
 * @param skip  [D]
 * @param z     [...,D] gate pre-activation
 * @throws RangeError when a shape does not match h.
 */
export function skipGate(h: Tensor, c: Tensor, skip: Tensor, z: Tensor): Tensor {
  const D = h.extent(-1);
  checkSameShape('skipGate: c', h, c);
  checkSameShape('skipGate: z', h, z);
  checkShape('skipGate: skip', skip.shape, [D]);
  const { device } = h;
  const N = h.size / D;
  const y = Tensor.outputLike(h);
  device.kernels.skipGateForward(y.buffer, h.buffer, c.buffer, skip.buffer, z.buffer, N, D);
  if (isRecorded([h, c, skip, z])) {
    record('skipGate', [y], [], ([dy]) =>
      device.kernels.skipGateBackward(
        h.grad,
        c.grad,
        skip.grad,
        z.grad,
        dy!,
        h.buffer,
        c.buffer,
        skip.buffer,
        z.buffer,
        N,
        D,
      ),
    );
  }
  return y;
}

/** @file Finds the first tensor that is not finite in a training step: parameter, activation or gradient. */
import type { FloatArray } from '../device/device.js';
import type { DeviceBuffer } from '../device/kernels.js';
import { sum } from '../ops/sum.js';
import type { ModelState } from '../model/state.js';
import { scope } from '../tensor/scope.js';
import { backward } from '../tensor/tape.js';
import { fold } from '../tensor/random.js';
import { countTargets, type HostBatch, type Trainer } from './trainer.js';

export interface Diagnosis {
  readonly kind: 'parameter' | 'activation' | 'gradient';
  /** The parameter, or the op with its part of the model: "blocks.2/slstm, output 0". */
  readonly name: string;
  readonly shape: readonly number[];
  /** Flat index of the first value that is not finite, and that value as text. */
  readonly index: number;
  readonly value: string;
  /** How many values are not finite. */
  readonly count: number;
}

interface Suspect {
  readonly kind: Diagnosis['kind'];
  readonly name: string;
  readonly shape: readonly number[];
  readonly buffer: DeviceBuffer;
}

/**
 * Runs the step again with everything kept, and looks through parameters, activations in the order of their making,
 * then gradients in the order of back-propagation. Null when all is finite.
 */
export async function findNonFinite(
  trainer: Trainer,
  batch: HostBatch,
  index: number,
  state: ModelState | null,
): Promise<Diagnosis | null> {
  const { model } = trainer;
  const { device } = model;
  const parameters: Suspect[] = Object.entries(model.parameters.tensors).map(([name, { shape, buffer }]) => ({
    kind: 'parameter',
    name,
    shape,
    buffer,
  }));
  const bad = await firstNonFinite(trainer, parameters);
  if (bad !== null) return bad;

  model.parameters.zeroGradients();
  const suspects: Suspect[] = [];
  const kept = scope(device, { record: true }, (inner) => {
    const { losses } = trainer.forward(batch, fold(fold(trainer.options.key, index), 0), state, false);
    const loss = sum(losses, 1 / Math.max(1, countTargets(batch)));
    const nodes = [...inner.tape];
    const outputs = nodes.flatMap(({ name, outputs }) =>
      outputs.map((tensor, k) => ({ name: `${name}, output ${k}`, tensor })),
    );
    for (const { name, tensor } of outputs)
      suspects.push({ kind: 'activation', name, shape: tensor.shape, buffer: tensor.buffer });
    backward(loss);
    const gradients = outputs.reverse().filter(({ tensor }) => tensor.gradIfAny !== null);
    for (const { name, tensor } of gradients)
      suspects.push({ kind: 'gradient', name, shape: tensor.shape, buffer: tensor.grad });
    const buffers = new Set(suspects.map(({ buffer }) => buffer));
    return { ownedBuffers: () => [...buffers] };
  });
  for (const [name, tensor] of Object.entries(model.parameters.tensors)) {
    suspects.push({ kind: 'gradient', name, shape: tensor.shape, buffer: tensor.grad });
  }
  try {
    return await firstNonFinite(trainer, suspects);
  } finally {
    for (const buffer of kept.ownedBuffers()) device.free(buffer);
  }
}

async function firstNonFinite(trainer: Trainer, suspects: readonly Suspect[]): Promise<Diagnosis | null> {
  for (const { kind, name, shape, buffer } of suspects) {
    const values = (await trainer.model.device.read(buffer)) as FloatArray;
    const wrong = [...values.keys()].filter((at) => !Number.isFinite(values[at]!));
    const [index] = wrong;
    if (index !== undefined) return { kind, name, shape, index, value: String(values[index]), count: wrong.length };
  }
  return null;
}

/** @file Evaluation: the mean cross-entropy per token over batches, without gradients. */
import { giveWay } from '../event-loop.js';
import type { LanguageModel } from '../model/language-model.js';
import { scope } from '../tensor/scope.js';
import { Tensor, type FloatDtype } from '../tensor/tensor.js';
import { countTargets, type HostBatch } from './trainer.js';

/**
 * Sum of all losses over all targets divided by the number of targets, in nats per token.
 * @param activations  how they are stored; 'bf16' where the device and all mixers of the model have it
 * @throws RangeError when no batch has a target.
 */
export async function evaluate(
  model: LanguageModel,
  batches: Iterable<HostBatch>,
  signal?: AbortSignal,
  activations: FloatDtype = 'float',
): Promise<{ loss: number; targets: number }> {
  const { device } = model;
  let total = 0;
  let targets = 0;
  for (const batch of batches) {
    if (signal?.aborted) break;
    const { B, T } = batch;
    const losses = scope(device, { collect: true }, () => {
      const reset = batch.reset === null ? null : Tensor.from(device, batch.reset, [B, T]);
      const inputs = Tensor.from(device, batch.tokens, [B, T]);
      const targets = Tensor.from(device, batch.targets, [B, T]);
      return model.losses(inputs, targets, { reset, wantState: false, activations }).losses;
    });
    for (const loss of await losses.data()) total += loss;
    targets += countTargets(batch);
    losses.dispose();
    await giveWay();
  }
  if (targets === 0) throw new RangeError('evaluate: no batch has a target');
  return { loss: total / targets, targets };
}

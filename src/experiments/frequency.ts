/**
 * @file How well tokens are predicted by how often they stand in the training text: rare-token prediction (arXiv
 * 2405.04517, figure 2 right). It counts losses by range; the counts of tokens are given.
 */
import { giveWay } from '../event-loop.js';
import type { LanguageModel } from '../model/language-model.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { HostBatch } from '../train/trainer.js';

/** Names of the ranges 0 to the first end, from there to the second, and so on to the most frequent token. */
export function frequencyRanges(
  counts: Float64Array,
  ends: readonly number[],
): { readonly name: string; readonly end: number }[] {
  const most = counts.reduce((a, b) => Math.max(a, b), 0);
  const all = [...ends.filter((end) => end < most).toSorted((a, b) => a - b), most];
  return all.map((end, k) => ({ name: `frequency ${k === 0 ? 0 : all[k - 1]! + 1}-${end}`, end }));
}

/**
 * Mean loss and perplexity of the targets of each range that has any: "frequency 11-100/perplexity".
 * @param counts  of each token in the training text [V]
 * @param ends    of the ranges
 * @throws the signal's reason when it aborts.
 */
export async function lossByFrequency(
  model: LanguageModel,
  batches: Iterable<HostBatch>,
  counts: Float64Array,
  ends: readonly number[],
  signal?: AbortSignal,
): Promise<Record<string, number>> {
  const { device } = model;
  const ranges = frequencyRanges(counts, ends).map((range) => ({ ...range, nats: 0, targets: 0 }));
  for (const { B, T, tokens, targets, reset: resets } of batches) {
    signal?.throwIfAborted();
    const losses = scope(device, {}, () => {
      const reset = resets === null ? null : Tensor.from(device, resets, [B, T]);
      const inputs = Tensor.from(device, tokens, [B, T]);
      return model.losses(inputs, Tensor.from(device, targets, [B, T]), { reset, wantState: false }).losses;
    });
    const nats = await losses.data();
    losses.dispose();
    targets.forEach((target, k) => {
      if (target < 0) return;
      const range = ranges.find(({ end }) => counts[target]! <= end)!;
      range.nats += nats[k]!;
      range.targets++;
    });
    await giveWay();
  }
  const found = ranges.filter((range) => range.targets > 0);
  return Object.fromEntries(
    found.flatMap(({ name, nats, targets }) => [
      [`${name}/loss`, nats / targets],
      [`${name}/perplexity`, Math.exp(nats / targets)],
      [`${name}/targets`, targets],
    ]),
  );
}

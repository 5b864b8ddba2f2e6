/** @file What a run says when loss or gradient is not finite, and the dump of the step that it can write. */
import fs from 'node:fs';
import path from 'node:path';
import type { ModelState } from '../model/state.js';
import { findNonFinite } from './diagnose.js';
import type { HostBatch, Trainer } from './trainer.js';

/** Loss or gradient was not finite and the configuration says to stop. */
export class NonFiniteError extends Error {
  override readonly name = 'NonFiniteError';
}

/**
 * The error that ends the run. With `dump`, the step is run again to find the first tensor that went bad, and that is
 * written beside the batch into the run folder.
 * @param index  number of the step, from 0
 * @param state  the state carried into it
 */
export async function nonFiniteError(
  trainer: Trainer,
  folder: string,
  policy: 'halt' | 'dump',
  batch: HostBatch,
  index: number,
  state: ModelState | null,
): Promise<NonFiniteError> {
  const where = `step ${index + 1}: loss or gradient is not finite`;
  if (policy === 'halt') {
    return new NonFiniteError(
      `${where}; the last checkpoint stands. Lower optimizer.learningRate, or resume with training.onNonFinite=skip or =dump`,
    );
  }
  const first = await findNonFinite(trainer, batch, index, state);
  const file = path.join(folder, `nonfinite-${index + 1}.json`);
  const { B, T, tokens, targets, reset } = batch;
  const plain = { B, T, tokens: [...tokens], targets: [...targets], reset: reset === null ? null : [...reset] };
  fs.writeFileSync(file, `${JSON.stringify({ step: index + 1, first, batch: plain })}\n`);
  const culprit =
    first === null
      ? 'nothing in a second run of the step'
      : `the ${first.kind} ${first.name} (${first.value} at ${first.index})`;
  return new NonFiniteError(`${where}; first that went bad: ${culprit}. Written to ${file}`);
}

/** @file The model that the worker holds as a folder; without a GPU, as it was last copied to memory, or kept. */
import { DeviceLostError, modelFiles, type LanguageModel } from 'xlstm';
import type { Context, Held } from './context.js';
import type { Training } from './training.js';

/** The optimizer of the model that is kept, beside its files. */
export const MOMENTS_FILE = 'moments.safetensors';

/**
 * The files of the model that is held, as `xlstm generate` reads them.
 * @throws Error in a sentence where there is no GPU, and no copy of the model
 */
export async function trainedFiles({ held, training, store, isWithoutGpu }: Context): Promise<Map<string, Blob>> {
  if (held !== null && !isWithoutGpu) {
    try {
      return await filesOf(held.model, held, training);
    } catch (error) {
      if (!(error instanceof DeviceLostError && training?.isAtCopy === true)) throw error;
    }
  }
  if (held !== null && training !== null) {
    using model = await training.copyOnHost();
    return filesOf(model, held, training);
  }
  const kept = new Map<string, Blob>((await store.load()) ?? []);
  if (kept.size === 0)
    throw new Error(
      'The GPU was lost, and with it the model, of which nothing was kept: it is where it was opened from.',
    );
  kept.delete(MOMENTS_FILE);
  return kept;
}

async function filesOf(
  model: LanguageModel,
  { tokenizer, facts }: Held,
  training: Training | null,
): Promise<Map<string, Blob>> {
  const more = training === null ? {} : { steps: training.step };
  const files = await modelFiles(model, { tokenizer: tokenizer.fingerprint(), training: { ...facts, ...more } });
  const entries: [string, BlobPart][] = [...Object.entries(files), ...Object.entries(tokenizer.files())];
  return new Map(entries.map(([name, content]) => [name, new Blob([content])]));
}

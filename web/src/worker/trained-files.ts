/** @file The model that the worker holds as a folder. */
import { modelFiles } from 'xlstm';
import type { Context } from './context.js';

/** The files of the model that is held, as `xlstm generate` reads them. */
export async function trainedFiles({ held, training }: Context): Promise<Map<string, Blob>> {
  const { model, tokenizer, facts } = held!;
  const more = training === null ? {} : { steps: training.step };
  const files = await modelFiles(model, { tokenizer: tokenizer.fingerprint(), training: { ...facts, ...more } });
  const entries: [string, BlobPart][] = [...Object.entries(files), ...Object.entries(tokenizer.files())];
  return new Map(entries.map(([name, content]) => [name, new Blob([content])]));
}

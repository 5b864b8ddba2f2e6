/** @file Opens a folder with a model in it, whoever wrote it. */
import { openNativeSource } from './native.js';
import type { ModelSource } from './source.js';

export interface SourceOptions {
  /** Backend of NX-AI/xlstm that wrote the sLSTM parameters; needed where their shapes do not tell. */
  readonly sourceBackend?: 'vanilla' | 'cuda';
}

/**
 * Opens a model folder and reads its configuration and the headers of its files; the tensors stay on disk.
 * @throws Error when it is no model folder or a file is missing or damaged, saying which and how.
 */
export function openModelSource(folder: string, _options: SourceOptions = {}): ModelSource {
  return openNativeSource(folder);
}

/**
 * @file A model as files in memory: what a model folder of this library holds, for pages. They are the files that
 * `checkpoint.ts` writes and reads.
 */
import type { Device } from '../device/device.js';
import { CONFIG_FILE, configText, nativeParameters, parseModelFolder, WEIGHTS_FILE } from './formats/native-config.js';
import type { ModelFacts } from './formats/source.js';
import type { LanguageModel } from './language-model.js';
import { modelTensors } from './named-tensors.js';
import { openModel, type OpenModelOptions } from './open-model.js';
import { safetensorsBytes, tensorSetOf } from './safetensors-bytes.js';

/** The files of a model folder by name. */
export interface ModelFiles {
  readonly 'config.json': string;
  readonly 'model.safetensors': Uint8Array;
}

/** The files of a model, float32. @param facts  the fingerprint of its tokenizer, and what it was trained on */
export async function modelFiles(
  model: LanguageModel,
  facts: { readonly tokenizer: string | null; readonly training?: Readonly<Record<string, unknown>> },
): Promise<ModelFiles> {
  return {
    [CONFIG_FILE]: configText({ model: model.config, ...facts }),
    [WEIGHTS_FILE]: await safetensorsBytes(await modelTensors(model), { format: 'xlstm' }),
  };
}

/**
 * The model of the files of a folder of this library; to be trained unless `storage` or `trainable` say otherwise.
 * @throws ConfigError, SafetensorsError or Error when a file is damaged; RangeError when tensors do not fit the config.
 */
export function modelFromFiles(
  files: ModelFiles,
  device: Device,
  options: OpenModelOptions = {},
): { readonly model: LanguageModel; readonly facts: ModelFacts } {
  const folder = parseModelFolder(files[CONFIG_FILE], CONFIG_FILE);
  const parameters = nativeParameters(folder, tensorSetOf(files[WEIGHTS_FILE], WEIGHTS_FILE));
  const { model: config, tokenizer, training } = folder;
  return { model: openModel(config, parameters, device, WEIGHTS_FILE, options), facts: { tokenizer, training } };
}

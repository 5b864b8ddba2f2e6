/**
 * @file A model as files in memory, for pages: those of a model folder of this library, which `checkpoint.ts` writes and
 * reads on disk, or of Hugging Face transformers, which are read alone.
 */
import type { Device } from '../device/device.js';
import { foreignSources } from './formats/foreign.js';
import { hfLayout, jsonFormat } from './formats/json-folder.js';
import {
  CONFIG_FILE,
  configText,
  nativeParameters,
  parseJson,
  parseModelFolder,
  WEIGHTS_FILE,
} from './formats/native-config.js';
import type { ModelFacts, ModelSource } from './formats/source.js';
import { parameterTable, type LanguageModel } from './language-model.js';
import { modelTensors } from './named-tensors.js';
import { openModel, type OpenModelOptions } from './open-model.js';
import { joinTensorSets, safetensorsBytes, tensorSetOf } from './safetensors-bytes.js';
import type { TensorSet } from './tensor-set.js';

/** The files of a model folder by name. */
export interface ModelFiles {
  readonly 'config.json': string;
  readonly 'model.safetensors': Uint8Array;
}

/** The same of any folder that is read: the weights may be several files (shards), by their names. */
export type ReadableFiles = { readonly 'config.json': string } & (
  ModelFiles | { readonly [weights: `${string}.safetensors`]: Uint8Array }
);

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
 * The model of the files of a folder, of this library or of Hugging Face transformers; to be trained unless `storage` or
 * `trainable` say otherwise.
 * @throws ConfigError, SafetensorsError or Error when a file is missing or damaged, or the model is of another kind;
 *   RangeError when tensors do not fit the config.
 */
export function modelFromFiles(
  files: ReadableFiles,
  device: Device,
  options: OpenModelOptions = {},
): { readonly model: LanguageModel; readonly facts: ModelFacts } {
  const { config, parameters, facts } = sourceOf(files[CONFIG_FILE], weightsOf(files));
  return { model: openModel(config, parameters, device, WEIGHTS_FILE, options), facts };
}

function sourceOf(text: string, weights: TensorSet): Pick<ModelSource, 'config' | 'parameters' | 'facts'> {
  const fields = parseJson(text, CONFIG_FILE);
  if (jsonFormat(fields, CONFIG_FILE) === 'native') {
    const folder = parseModelFolder(text, CONFIG_FILE);
    const { model: config, tokenizer, training } = folder;
    return { config, parameters: nativeParameters(folder, weights), facts: { tokenizer, training } };
  }
  const { config, tensors, derived } = hfLayout(fields, CONFIG_FILE);
  const parameters = foreignSources(weights, tensors, parameterTable(config), derived);
  return { config, parameters, facts: { tokenizer: null, training: {} } };
}

/** One file, or all shards. @throws Error when there is none. */
function weightsOf(files: ReadableFiles): TensorSet {
  const sets = Object.entries(files).flatMap(([name, content]) =>
    typeof content === 'string' ? [] : [tensorSetOf(content, name)],
  );
  if (sets.length === 0) throw new Error(`${CONFIG_FILE}: there is no ${WEIGHTS_FILE} beside it`);
  return sets.length === 1 ? sets[0]! : joinTensorSets(sets, '*.safetensors');
}

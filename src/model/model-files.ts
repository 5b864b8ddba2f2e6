/**
 * @file A model as files in memory, for pages: those of a model folder of this library, which `checkpoint.ts` writes and
 * reads on disk, or of Hugging Face transformers, which are read alone.
 */
import type { Device } from '../device/device.js';
import { formatName, isScaled } from '../device/packing.js';
import type { Packing, Tensor } from '../tensor/tensor.js';
import { sourceOf } from './formats/json-folder.js';
import { CONFIG_FILE, configText, quantizationOf, WEIGHTS_FILE } from './formats/native-config.js';
import type { ModelFacts } from './formats/source.js';
import type { LanguageModel } from './language-model.js';
import { modelTensors } from './named-tensors.js';
import { openModel, type OpenModelOptions } from './open-model.js';
import { joinTensorSets, safetensorsBytes, tensorSetOf } from './safetensors-bytes.js';
import { arrayOf, type TensorArray, type TensorToWrite } from './tensor-array.js';
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
 * The files of a model as it is held: packed matrices stay packed, everything else is float32. Opened again with storage
 * 'stored', it gives the same numbers.
 */
export async function heldModelFiles(
  model: LanguageModel,
  facts: { readonly tokenizer: string | null; readonly training?: Readonly<Record<string, unknown>> },
): Promise<ModelFiles> {
  const entries = Object.entries(model.tensors);
  const scaled = entries.filter(([, { packing }]) => packing !== null && isScaled(packing.format));
  const quantization = quantizationOf(new Map(scaled.map(([name, { packing }]) => [name, packing!])));
  const tensors = entries.map(([name, tensor]) => heldTensor(name, tensor));
  return {
    [CONFIG_FILE]: configText({ model: model.config, ...facts, quantization }),
    [WEIGHTS_FILE]: await safetensorsBytes(tensors, { format: 'xlstm' }),
  };
}

function heldTensor(name: string, { device, shape, buffer, packing }: Tensor): TensorToWrite {
  const read = () => device.read(buffer);
  if (packing === null) {
    return { name, dtype: 'F32', shape, data: async () => Float32Array.from((await read()) as Float32Array) };
  }
  const dtype = storedType(packing);
  const data = async (): Promise<TensorArray> => arrayOf(dtype, (await read()) as Uint8Array);
  return { name, dtype, shape: dtype === 'U8' ? [shape[0]!, buffer.length / shape[0]!] : shape, data };
}

/** The type of element under which the bytes of packed rows are stored. */
function storedType({ format }: Packing): 'U8' | 'BF16' | 'F16' {
  return isScaled(format) ? 'U8' : formatName(format) === 'bf16' ? 'BF16' : 'F16';
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

/** One file, or all shards. @throws Error when there is none. */
function weightsOf(files: ReadableFiles): TensorSet {
  const sets = Object.entries(files).flatMap(([name, content]) =>
    typeof content === 'string' ? [] : [tensorSetOf(content, name)],
  );
  if (sets.length === 0) throw new Error(`${CONFIG_FILE}: there is no ${WEIGHTS_FILE} beside it`);
  return sets.length === 1 ? sets[0]! : joinTensorSets(sets, '*.safetensors');
}

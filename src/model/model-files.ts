/**
 * @file A model as files in memory: what a model folder of this library holds, for pages. They are the files that
 * `checkpoint.ts` writes and reads.
 */
import type { Device } from '../device/device.js';
import { formatName, isScaled } from '../device/packing.js';
import type { Packing, Tensor } from '../tensor/tensor.js';
import {
  CONFIG_FILE,
  configText,
  nativeParameters,
  parseModelFolder,
  quantizationOf,
  WEIGHTS_FILE,
} from './formats/native-config.js';
import type { ModelFacts } from './formats/source.js';
import type { LanguageModel } from './language-model.js';
import { modelTensors } from './named-tensors.js';
import { openModel, type OpenModelOptions } from './open-model.js';
import { safetensorsBytes, tensorSetOf } from './safetensors-bytes.js';
import { arrayOf, type TensorArray, type TensorToWrite } from './tensor-array.js';

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

/**
 * @file A model as a folder: config.json and model.safetensors. The tokenizer beside them belongs to `tokens/`; here it
 * is only known by its fingerprint, so that a wrong one is refused.
 */
import fs from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import type { Device, FloatArray } from '../device/device.js';
import type { DeviceBuffer } from '../device/kernels.js';
import { checkShape } from '../tensor/shape.js';
import { checkConfig } from './check-config.js';
import { modelConfigSchema } from './config.js';
import { LanguageModel } from './language-model.js';
import type { ParameterPlace, Parameters } from './parameters.js';
import {
  openSafetensors,
  writeSafetensors,
  type SafetensorsFile,
  type TensorArray,
  type TensorToWrite,
} from './safetensors.js';

const CONFIG = 'config.json';
const WEIGHTS = 'model.safetensors';

const folderSchema = z.strictObject({
  format: z.literal('xlstm'),
  version: z.literal(1),
  model: modelConfigSchema,
  /** Fingerprint of the tokenizer that the model was trained with; null where there was none. */
  tokenizer: z.string().nullable(),
  /** What it was trained on, for people. */
  training: z.record(z.string(), z.unknown()).default({}),
});

/** What config.json of a model folder says. */
export type ModelFolder = z.output<typeof folderSchema>;

/** Whether a folder holds a model of this library. */
export const isModelFolder = (folder: string): boolean =>
  fs.existsSync(path.join(folder, CONFIG)) && fs.existsSync(path.join(folder, WEIGHTS));

/**
 * Writes config.json and model.safetensors (float32) into an existing folder.
 * @throws WriteError when the disk refuses.
 */
export async function saveModel(
  folder: string,
  model: LanguageModel,
  facts: { readonly tokenizer: string | null; readonly training?: Readonly<Record<string, unknown>> },
): Promise<void> {
  const config = { format: 'xlstm', version: 1, model: model.config, ...facts };
  fs.writeFileSync(path.join(folder, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
  const values = await model.device.read(model.parameters.values);
  const tensors = namedTensors(model.parameters.places, Float32Array.from(values as FloatArray));
  await writeSafetensors(path.join(folder, WEIGHTS), tensors, { format: 'xlstm' });
}

/** The stretches of a flat array that belong to each parameter. */
export function namedTensors(places: readonly ParameterPlace[], flat: FloatArray, prefix = ''): TensorToWrite[] {
  const dtype = flat instanceof Float64Array ? 'F64' : 'F32';
  return places.map(({ name, spec, offset, length }) => {
    const data = flat.subarray(offset, offset + length) as TensorArray;
    return { name: prefix + name, dtype, shape: spec.shape, data };
  });
}

/** Reads what `namedTensors` wrote into a flat buffer. @throws RangeError for a missing tensor or a wrong shape. */
export function readNamedTensors(file: SafetensorsFile, parameters: Parameters, flat: DeviceBuffer, prefix = ''): void {
  const { device, places } = parameters;
  for (const { name, spec, offset, length } of places) {
    const info = file.tensors.get(prefix + name);
    if (info === undefined) {
      throw new RangeError(`${file.path}: lacks "${prefix + name}"; it belongs to a model of another configuration`);
    }
    checkShape(`${file.path}: ${prefix + name}`, info.shape, spec.shape);
    const data = info.dtype === 'F64' ? (file.read(prefix + name) as Float64Array) : file.readFloat32(prefix + name);
    device.write(device.view(flat, offset, length), data);
  }
}

/** Reads config.json. @throws ConfigError or Error when it is missing, not JSON, or not of this library. */
export function readModelFolder(folder: string): ModelFolder {
  const file = path.join(folder, CONFIG);
  if (!fs.existsSync(file)) throw new Error(`${folder}: no model here (there is no ${CONFIG})`);
  let json: unknown;
  try {
    json = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new Error(`${file}: not JSON (${(cause as Error).message})`, { cause });
  }
  return checkConfig(folderSchema, json, file);
}

/**
 * Opens the model of a folder.
 * @throws Error when a file is missing or damaged, saying which and how; RangeError when tensors do not fit the config.
 */
export function loadModel(folder: string, device: Device): { model: LanguageModel; config: ModelFolder } {
  const config = readModelFolder(folder);
  using file = openSafetensors(path.join(folder, WEIGHTS));
  const model = new LanguageModel(config.model, device);
  try {
    const known = new Set(model.parameters.places.map(({ name }) => name));
    const foreign = [...file.tensors.keys()].find((name) => !known.has(name));
    if (foreign !== undefined) {
      throw new RangeError(`${file.path}: holds "${foreign}", which a model of this configuration does not have`);
    }
    readNamedTensors(file, model.parameters, model.parameters.values);
  } catch (error) {
    model.dispose();
    throw error;
  }
  return { model, config };
}

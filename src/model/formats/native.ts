/** @file This library's own model folders: config.json and model.safetensors, whose tensors have the library's names. */
import fs from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { WeightFormat } from '../../device/kernels.js';
import { packedRowBytes } from '../../device/packing.js';
import { checkShape } from '../../tensor/shape.js';
import type { Packing } from '../../tensor/tensor.js';
import { checkConfig } from '../check-config.js';
import { modelConfigSchema } from '../config.js';
import { parameterTable } from '../language-model.js';
import { openSafetensors, SafetensorsError, type SafetensorsFile } from '../safetensors.js';
import type { ModelSource, ParameterSource } from './source.js';

export const CONFIG_FILE = 'config.json';
export const WEIGHTS_FILE = 'model.safetensors';

const packingSchema = z.strictObject({ format: z.enum(['int8', 'int4']), group: z.number().int().min(0) });

const folderSchema = z.strictObject({
  format: z.literal('xlstm'),
  version: z.literal(1),
  model: modelConfigSchema,
  /** Fingerprint of the tokenizer that the model was trained with; null where there was none. */
  tokenizer: z.string().nullable(),
  /** What it was trained on, for people. */
  training: z.record(z.string(), z.unknown()).default({}),
  /** How tensors of type U8 are packed: all alike, but for those that are named. */
  quantization: packingSchema.extend({ exceptions: z.record(z.string(), packingSchema).default({}) }).optional(),
});

/** What config.json of a native model folder says. */
export type ModelFolder = z.output<typeof folderSchema>;
export type Quantization = NonNullable<ModelFolder['quantization']>;

/** The text of config.json. */
export const configText = (folder: Omit<z.input<typeof folderSchema>, 'format' | 'version'>): string =>
  `${JSON.stringify({ format: 'xlstm', version: 1, ...folder }, null, 2)}\n`;

/** Reads config.json. @throws ConfigError or Error when it is missing, not JSON, or not of this library. */
export function readModelFolder(folder: string): ModelFolder {
  const file = path.join(folder, CONFIG_FILE);
  if (!fs.existsSync(file)) throw new Error(`${folder}: no model here (there is no ${CONFIG_FILE})`);
  let json: unknown;
  try {
    json = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new Error(`${file}: not JSON (${(cause as Error).message})`, { cause });
  }
  return checkConfig(folderSchema, json, file);
}

/** @throws Error when a file is missing or damaged, saying which and how. */
export function openNativeSource(folder: string): ModelSource {
  const { model: config, tokenizer, training, quantization } = readModelFolder(folder);
  const file = openSafetensors(path.join(folder, WEIGHTS_FILE));
  const table = parameterTable(config);
  const parameters = new Map(
    [...file.tensors.keys()].map((name) => [
      name,
      parameterSource(file, name, table[name]?.shape ?? null, quantization),
    ]),
  );
  const close = (): void => file.close();
  return {
    format: 'native',
    folder,
    config,
    facts: { tokenizer, training },
    parameters,
    close,
    [Symbol.dispose]: close,
  };
}

/** @param shape  that of the parameter; null where the model has none of this name */
function parameterSource(
  file: SafetensorsFile,
  name: string,
  shape: readonly number[] | null,
  quantization: Quantization | undefined,
): ParameterSource {
  const { dtype, shape: stored, byteLength } = file.tensors.get(name)!;
  const bytes = (): Uint8Array => {
    const data = file.read(name);
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  };
  if (dtype !== 'U8' || shape === null) return { name, shape: stored, dtype, packing: null, byteLength, bytes };
  if (quantization === undefined) {
    throw new SafetensorsError(`${file.path}: ${name} is U8, but ${CONFIG_FILE} does not say how it is packed`);
  }
  const { format, group } = quantization.exceptions[name] ?? quantization;
  const packing: Packing = { format: WeightFormat[format], group };
  checkShape(`${file.path}: ${name}`, stored, [shape[0]!, packedRowBytes(packing.format, shape[1]!, group)]);
  return { name, shape, dtype, packing, byteLength, bytes };
}

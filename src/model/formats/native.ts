/** @file This library's own model folders: config.json and model.safetensors, whose tensors have the library's names. */
import fs from 'node:fs';
import path from 'node:path';
import * as z from 'zod';
import { WeightFormat } from '../../device/kernels.js';
import { formatName, packedRowBytes } from '../../device/packing.js';
import { checkShape } from '../../tensor/shape.js';
import type { Packing } from '../../tensor/tensor.js';
import { checkConfig } from '../check-config.js';
import { modelConfigSchema, writtenConfig, type ModelConfig } from '../config.js';
import { parameterTable } from '../language-model.js';
import { openTensors } from '../safetensors-shards.js';
import type { TensorSet } from '../safetensors.js';
import { SafetensorsError } from '../safetensors-header.js';
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
  /** How the folder that it was converted from looked. */
  origin: z
    .strictObject({
      format: z.enum(['hf', 'nxai-large', 'nxai']),
      config: z.string(),
      metadata: z.record(z.string(), z.string()).default({}),
      weightMap: z.record(z.string(), z.string()).optional(),
      index: z.string().optional(),
      weightMode: z.enum(['single', 'fused']).optional(),
      backend: z.enum(['vanilla', 'cuda']).optional(),
    })
    .optional(),
});

/** What config.json of a native model folder says. */
export type ModelFolder = z.output<typeof folderSchema>;
export type Quantization = NonNullable<ModelFolder['quantization']>;

/** The text of config.json. */
export const configText = (
  folder: Omit<z.input<typeof folderSchema>, 'format' | 'version' | 'model'> & { readonly model: ModelConfig },
): string => {
  const { model, ...rest } = folder;
  return `${JSON.stringify({ format: 'xlstm', version: 1, model: writtenConfig(model), ...rest }, null, 2)}\n`;
};

/** @throws Error when the text is no JSON object. */
export function parseJson(text: string, file: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Error(`${file}: not JSON (${(cause as Error).message})`, { cause });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Error(`${file}: must hold an object`);
}

/** Reads config.json. @throws ConfigError or Error when it is missing, not JSON, or not of this library. */
export function readModelFolder(folder: string): ModelFolder {
  const file = path.join(folder, CONFIG_FILE);
  return checkConfig(folderSchema, parseJson(fs.readFileSync(file, 'utf8'), file), file);
}

/** @throws Error when a file is missing or damaged, saying which and how. */
export function openNativeSource(folder: string): ModelSource {
  const { model: config, tokenizer, training, quantization, origin = null } = readModelFolder(folder);
  const file = openTensors(folder);
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
    origin,
    parameters,
    close,
    [Symbol.dispose]: close,
  };
}

/** As config.json says it: the packing of most matrices, and those that differ; undefined where none is packed. */
export function quantizationOf(packings: ReadonlyMap<string, Packing>): Quantization | undefined {
  const described = [...packings].map(([name, { format, group }]) => {
    return [name, { format: formatName(format) as 'int8' | 'int4', group }] as const;
  });
  const common = (described.find(([, { format }]) => format === 'int4') ?? described[0])?.[1];
  if (common === undefined) return undefined;
  const differs = ({ format, group }: typeof common): boolean => format !== common.format || group !== common.group;
  return { ...common, exceptions: Object.fromEntries(described.filter(([, packing]) => differs(packing))) };
}

/** @param shape  that of the parameter; null where the model has none of this name */
function parameterSource(
  file: TensorSet,
  name: string,
  shape: readonly number[] | null,
  quantization: Quantization | undefined,
): ParameterSource {
  const { dtype, shape: stored, byteLength } = file.tensors.get(name)!;
  const bytes = (): Uint8Array => file.view(name);
  const memory = () => file.memory(name);
  if (dtype !== 'U8' || shape === null) return { name, shape: stored, dtype, packing: null, byteLength, bytes, memory };
  if (quantization === undefined) {
    throw new SafetensorsError(`${file.path}: ${name} is U8, but ${CONFIG_FILE} does not say how it is packed`);
  }
  const { format, group } = quantization.exceptions[name] ?? quantization;
  const packing: Packing = { format: WeightFormat[format], group };
  checkShape(`${file.path}: ${name}`, stored, [shape[0]!, packedRowBytes(packing.format, shape[1]!, group)]);
  return { name, shape, dtype, packing, byteLength, bytes, memory };
}

/**
 * @file config.json of this library's own model folders: its schema, its text, and the parameters of the tensors beside it.
 * It opens no files; `native.ts` does.
 */
import * as z from 'zod';
import { WeightFormat } from '../../device/kernels.js';
import { formatName, packedRowBytes } from '../../device/packing.js';
import { checkShape } from '../../tensor/shape.js';
import type { Packing } from '../../tensor/tensor.js';
import { checkConfig } from '../check-config.js';
import { modelConfigSchema, writtenConfig, type ModelConfig } from '../config.js';
import { parameterTable } from '../language-model.js';
import { SafetensorsError } from '../safetensors-header.js';
import type { TensorSet } from '../tensor-set.js';
import type { ParameterSource } from './source.js';

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

/** Checks the text of config.json. @throws ConfigError or Error when it is not JSON, or not of this library. */
export function parseModelFolder(text: string, file: string): ModelFolder {
  return checkConfig(folderSchema, parseJson(text, file), file);
}

/** The parameters that the tensors of a folder are, by name. @throws SafetensorsError for one packed in an unknown way. */
export function nativeParameters({ model, quantization }: ModelFolder, file: TensorSet): Map<string, ParameterSource> {
  const table = parameterTable(model);
  return new Map(
    [...file.tensors.keys()].map((name) => [
      name,
      parameterSource(file, name, table[name]?.shape ?? null, quantization),
    ]),
  );
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
  const common = { name, tensor: name, dtype, byteLength, bytes, memory };
  if (dtype !== 'U8' || shape === null) return { ...common, shape: stored, packing: null };
  if (quantization === undefined) {
    throw new SafetensorsError(`${file.path}: ${name} is U8, but ${CONFIG_FILE} does not say how it is packed`);
  }
  const { format, group } = quantization.exceptions[name] ?? quantization;
  const packing: Packing = { format: WeightFormat[format], group };
  checkShape(`${file.path}: ${name}`, stored, [shape[0]!, packedRowBytes(packing.format, shape[1]!, group)]);
  return { ...common, shape, packing };
}

/**
 * @file A model from one layout into another: its configuration and its tensors, one tensor at a time. Elements keep their
 * bits unless another type is asked for; a folder that goes back to the layout it came from gets its own bytes again.
 */
import path from 'node:path';
import { stringify } from 'yaml';
import type { ModelConfig } from '../config.js';
import { fromFloat32 } from '../float-formats.js';
import { parameterTable } from '../language-model.js';
import type { SafetensorsDtype } from '../safetensors-header.js';
import { arrayOf, toFloats, type TensorToWrite } from '../tensor-array.js';
import { INDEX, writeTensors, writeText, type ShardOptions } from '../safetensors-shards.js';
import { foreignBytes, foreignDtype, type ForeignTensor } from './foreign.js';
import { largeTensors, readLargeConfig, writeLargeConfig, type WeightMode } from './large.js';
import { CONFIG_FILE, configText, parseJson, quantizationOf } from './native-config.js';
import { parseYaml, YAML_FILE } from './open.js';
import { paperTensors, readPaperConfig, writePaperConfig } from './paper.js';
import type { ModelFormat, ModelSource, Origin, ParameterSource } from './source.js';
import { architectureFor, architectureOf } from './transformers.js';

/** Layouts to convert to; "nxai" is the package's own layout of the model's architecture. */
export type ConvertTarget = 'hf' | 'nxai' | 'native';

export interface ConvertOptions {
  /** Type of the elements; default: as they are. */
  readonly dtype?: 'F32' | 'BF16' | 'F16' | undefined;
  /** Layout of xLSTM Large; default: as the model came, else single matrices. */
  readonly weightMode?: WeightMode | undefined;
  /** A file is closed before it would grow beyond; default 5 GB, or the shards that the model came in. */
  readonly maxShardBytes?: number | undefined;
  /** Further fields of a new config.json of Hugging Face, such as the ids of special tokens. */
  readonly fields?: Readonly<Record<string, unknown>>;
  /** Told how much is written, from 0 to 1. */
  readonly onProgress?: (share: number) => void;
}

/**
 * Writes configuration and tensors of a model into an existing folder.
 * @returns the layout that was written
 * @throws Error where the layout cannot hold the model, saying why; WriteError when the disk refuses.
 */
export async function convertModel(
  source: ModelSource,
  folder: string,
  target: ConvertTarget,
  options: ConvertOptions = {},
): Promise<ModelFormat> {
  if (target === 'native') {
    await writeNative(source, folder, options);
    return 'native';
  }
  const isLarge = source.config.blocks.every((kind) => kind === 'mlstmLarge');
  const format = target === 'hf' ? 'hf' : isLarge ? 'nxai-large' : 'nxai';
  const packed = [...source.parameters.values()].find(({ packing }) => packing !== null);
  if (packed !== undefined) {
    throw new Error(
      `convert: ${packed.name} is packed, which ${format} cannot hold; convert the model it was made from`,
    );
  }
  const { text, tensors, origin } = layoutOf(source, format, options);
  const bytesOf = (tensor: ForeignTensor): TensorToWrite => toWrite(tensor, source.parameters, options);
  const same = origin !== null && options.maxShardBytes === undefined;
  await writeAll(tensors.map(bytesOf), folder, options, {
    metadata: origin?.metadata ?? { format: 'pt' },
    ...(same && origin.weightMap !== undefined && { weightMap: origin.weightMap }),
  });
  // The index of other libraries may hold more than ours; with other types of elements its total would be wrong.
  if (same && origin.index !== undefined && options.dtype === undefined)
    writeText(path.join(folder, INDEX), origin.index);
  writeText(path.join(folder, format === 'hf' ? CONFIG_FILE : YAML_FILE), text);
  return format;
}

async function writeNative(source: ModelSource, folder: string, options: ConvertOptions): Promise<void> {
  const { config, facts, parameters, origin } = source;
  const tensors = [...parameters.values()].map(({ name, packing }) => {
    if (packing === null)
      return toWrite({ name, shape: parameterTable(config)[name]!.shape, parts: [name] }, parameters, options);
    const { shape, byteLength, bytes } = parameters.get(name)!;
    return {
      name,
      dtype: 'U8',
      shape: [shape[0]!, byteLength / shape[0]!],
      data: () => arrayOf('U8', bytes()),
    } as const;
  });
  const packings = new Map(
    [...parameters].flatMap(([name, { packing }]) => (packing === null ? [] : [[name, packing]])),
  );
  await writeAll(tensors, folder, options, {
    metadata: { format: 'xlstm' },
    ...(packings.size > 0 && { alignment: 64 }),
  });
  const quantization = quantizationOf(packings);
  const more = { ...(quantization && { quantization }), ...(origin && { origin }) };
  writeText(path.join(folder, CONFIG_FILE), configText({ model: config, ...facts, ...more }));
}

/** Writes tensors and tells how far that is. */
async function writeAll(
  tensors: readonly TensorToWrite[],
  folder: string,
  { onProgress = () => {}, maxShardBytes }: ConvertOptions,
  options: ShardOptions,
): Promise<void> {
  let done = 0;
  const reporting = tensors.map((tensor): TensorToWrite => {
    const data = tensor.data as () => ReturnType<Extract<TensorToWrite['data'], () => unknown>>;
    return { ...tensor, data: () => (onProgress(done++ / tensors.length), data()) };
  });
  await writeTensors(folder, reporting, { ...options, ...(maxShardBytes !== undefined && { maxShardBytes }) });
  onProgress(1);
}

interface Layout {
  readonly text: string;
  readonly tensors: readonly ForeignTensor[];
  /** What is written again as it was; null for a new folder. */
  readonly origin: Origin | null;
}

function layoutOf(source: ModelSource, format: Origin['format'], options: ConvertOptions): Layout {
  const { config, origin } = source;
  const table = parameterTable(config);
  const known = origin?.format === format && describes(origin, config) ? origin : null;
  if (format === 'nxai') {
    const tensors = paperTensors(config, table, known?.backend ?? 'vanilla');
    return { text: known?.config ?? stringify(writePaperConfig(config)), tensors, origin: known };
  }
  const architecture = format === 'hf' ? architectureFor(config) : undefined;
  const more = format === 'hf' ? { dtype: dtypeName(source, options), ...options.fields } : {};
  if (architecture !== undefined) {
    const problem = architecture.refusal(config);
    if (problem !== null)
      throw new Error(`convert: the ${architecture.modelType} of hf cannot hold this model: ${problem}`);
    const text = known?.config ?? jsonText({ ...architecture.writeConfig(config), ...more });
    return { text, tensors: architecture.tensors(config, table), origin: known };
  }
  const weightMode = options.weightMode ?? known?.weightMode ?? 'single';
  const fields = writeLargeConfig(config, format, weightMode);
  const tensors = largeTensors(config, table, format, weightMode);
  if (known?.weightMode === weightMode) return { text: known.config, tensors, origin: known };
  const text = format === 'hf' ? jsonText({ ...fields, ...more }) : stringify(fields);
  return { text, tensors, origin: null };
}

/** Whether a kept configuration is still that of the model: options that change no result apart. */
function describes({ format, config: text }: Origin, config: ModelConfig): boolean {
  const what = 'the configuration that the model came with';
  const read = (): ModelConfig => {
    if (format === 'nxai') return readPaperConfig(parseYaml(text, what), what).config;
    const fields = format === 'hf' ? parseJson(text, what) : parseYaml(text, what);
    const architecture = format === 'hf' ? architectureOf(fields) : undefined;
    return architecture?.readConfig(fields, what) ?? readLargeConfig(fields, format, what).config;
  };
  const comparable = (value: ModelConfig): string =>
    JSON.stringify({
      ...value,
      mlstm: { ...value.mlstm, chunkSize: 0 },
      mlstmLarge: { ...value.mlstmLarge, chunkSize: 0 },
    });
  return comparable(read()) === comparable(config);
}

const DTYPE_NAMES: Partial<Record<SafetensorsDtype, string>> = { F32: 'float32', BF16: 'bfloat16', F16: 'float16' };

/** The type of most elements, as Hugging Face calls it. */
function dtypeName({ parameters }: ModelSource, { dtype }: ConvertOptions): string {
  const stored = parameters.get('embedding.weight')?.dtype ?? 'F32';
  return DTYPE_NAMES[dtype ?? stored] ?? 'float32';
}

/** Fields that transformers refuses as whole numbers. */
const FLOATS =
  /^( *"(?:norm_eps|eps|rms_norm_eps|rope_theta|attention_dropout|qk_dim_factor|v_dim_factor|ffn_proj_factor|gate_soft_cap|output_logit_soft_cap)": \d+)(?=,?$)/gm;

/** A config.json as Hugging Face writes it: fields in the order of their names, 15.0 for a float. */
export function jsonText(fields: Readonly<Record<string, unknown>>): string {
  const sorted = Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify(sorted, null, 2)}\n`.replace(FLOATS, '$1.0');
}

function toWrite(
  tensor: ForeignTensor,
  parameters: ReadonlyMap<string, ParameterSource>,
  { dtype }: ConvertOptions,
): TensorToWrite {
  const { name, shape } = tensor;
  const stored = foreignDtype(tensor, parameters);
  const wanted = dtype ?? stored;
  const data = async function* () {
    for (const bytes of foreignBytes(tensor, parameters)) {
      yield wanted === stored ? arrayOf(stored, bytes) : converted(bytes, stored, wanted as 'F32' | 'BF16' | 'F16');
    }
  };
  return { name, shape, dtype: wanted, data };
}

function converted(bytes: Uint8Array, from: SafetensorsDtype, to: 'F32' | 'BF16' | 'F16') {
  const values = toFloats(bytes, from);
  const floats = values instanceof Float32Array ? values : Float32Array.from(values);
  return fromFloat32(floats, to) as Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;
}

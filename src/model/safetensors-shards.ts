/**
 * @file Tensors of a folder: one safetensors file, or several with an index as Hugging Face writes them, or numbered ones
 * as NX-AI writes them. Which tensors a model has is not known here.
 */
import fs from 'node:fs';
import path from 'node:path';
import { explainWriteFailure } from './disk.js';
import { openSafetensors, writeSafetensors, type SafetensorsFile } from './safetensors.js';
import type { TensorSet } from './tensor-set.js';
import { SafetensorsError, tensorBytes, type TensorInfo } from './safetensors-header.js';
import type { TensorToWrite } from './tensor-array.js';

const SINGLE = 'model.safetensors';
export const INDEX = 'model.safetensors.index.json';
const NUMBERED = /^model_(\d+)\.safetensors$/;

/** An index of a few thousand tensors has some 100 kB. */
const MAX_INDEX_BYTES = 64 << 20;

/**
 * Opens the tensors of a folder: model.safetensors, or the shards of model.safetensors.index.json, or model_0.safetensors,
 * model_1.safetensors and so on.
 * @throws SafetensorsError when there are none, an index or a file is damaged, or they do not fit each other.
 */
export function openTensors(folder: string): TensorSet {
  const single = path.join(folder, SINGLE);
  if (fs.existsSync(single)) return openSafetensors(single);
  if (fs.existsSync(path.join(folder, INDEX))) return openIndexed(folder);
  const numbered = numberedFiles(folder);
  if (numbered.length > 0) return openShards(folder, numbered, null);
  throw new SafetensorsError(`${folder}: no weights here (there is no ${SINGLE} and no ${INDEX})`);
}

/** The file of each tensor. */
export type WeightMap = Readonly<Record<string, string>>;

function openIndexed(folder: string): TensorSet {
  const { file, weightMap } = readIndex(folder);
  const shards = [...new Set(Object.values(weightMap))];
  for (const shard of shards) {
    if (!fs.existsSync(path.join(folder, shard))) throw new SafetensorsError(`${file}: its shard ${shard} is missing`);
  }
  return openShards(folder, shards, { file, weightMap });
}

/** Reads an index. @throws SafetensorsError when it is no index, or names a file outside of the folder. */
export function readIndex(folder: string): { readonly file: string; readonly weightMap: WeightMap } {
  const file = path.join(folder, INDEX);
  const { size } = fs.statSync(file);
  if (size > MAX_INDEX_BYTES) {
    throw new SafetensorsError(`${file}: has ${size} bytes, more than an index may have (${MAX_INDEX_BYTES})`);
  }
  let json: unknown;
  try {
    json = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new SafetensorsError(`${file}: not JSON (${(cause as Error).message})`, { cause });
  }
  const map = isObject(json) ? json['weight_map'] : undefined;
  if (!isObject(map)) throw new SafetensorsError(`${file}: has no object "weight_map"`);
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== 'string' || path.basename(shard) !== shard || !/^[^\\/]+\.safetensors$/.test(shard)) {
      const shown = JSON.stringify(shard)?.slice(0, 80);
      throw new SafetensorsError(`${file}: "${name}" must be in a .safetensors file of this folder, got ${shown}`);
    }
  }
  if (Object.keys(map).length === 0) throw new SafetensorsError(`${file}: its "weight_map" is empty`);
  return { file, weightMap: map as WeightMap };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** model_0.safetensors and so on, in the order of their numbers. @throws SafetensorsError where one is missing. */
function numberedFiles(folder: string): string[] {
  const numbers = fs.readdirSync(folder).flatMap((name) => {
    const match = NUMBERED.exec(name);
    return match === null ? [] : [{ name, number: Number(match[1]) }];
  });
  numbers.sort((a, b) => a.number - b.number);
  const gap = numbers.findIndex(({ number }, k) => number !== k);
  if (gap !== -1)
    throw new SafetensorsError(`${folder}: model_${gap}.safetensors is missing before ${numbers[gap]!.name}`);
  return numbers.map(({ name }) => name);
}

/**
 * The file of each tensor of a folder whose tensors are in several.
 * @returns null where they are in one
 */
export function readWeightMap(folder: string): WeightMap | null {
  if (fs.existsSync(path.join(folder, SINGLE))) return null;
  if (fs.existsSync(path.join(folder, INDEX))) return readIndex(folder).weightMap;
  const entries = numberedFiles(folder).flatMap((shard) => {
    using file = openSafetensors(path.join(folder, shard));
    return [...file.tensors.keys()].map((name) => [name, shard] as const);
  });
  return Object.fromEntries(entries);
}

interface Index {
  readonly file: string;
  readonly weightMap: WeightMap;
}

function openShards(folder: string, names: readonly string[], index: Index | null): TensorSet {
  const files: SafetensorsFile[] = [];
  const close = (): void => files.forEach((file) => file.close());
  try {
    for (const name of names) files.push(openSafetensors(path.join(folder, name)));
    const homes = homesOf(files, index);
    const home = (name: string): SafetensorsFile => {
      const file = homes.get(name);
      if (file === undefined) throw new RangeError(`${folder}: no tensor is called ${JSON.stringify(name)}`);
      return file;
    };
    return {
      path: folder,
      metadata: files[0]!.metadata,
      tensors: new Map([...homes].map(([name, file]): [string, TensorInfo] => [name, file.tensors.get(name)!])),
      view: (name) => home(name).view(name),
      memory: (name, ...range) => home(name).memory(name, ...range),
      close,
      [Symbol.dispose]: close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** The file of each tensor. @throws SafetensorsError where two have it, or the index says otherwise. */
function homesOf(files: readonly SafetensorsFile[], index: Index | null): Map<string, SafetensorsFile> {
  const homes = new Map<string, SafetensorsFile>();
  for (const file of files) {
    for (const name of file.tensors.keys()) {
      const other = homes.get(name);
      if (other !== undefined) throw new SafetensorsError(`${file.path}: holds "${name}", and so does ${other.path}`);
      const said = index?.weightMap[name];
      if (index !== null && said !== path.basename(file.path)) {
        const where = said === undefined ? 'does not name it' : `says it is in ${said}`;
        throw new SafetensorsError(`${file.path}: holds "${name}", but ${index.file} ${where}`);
      }
      homes.set(name, file);
    }
  }
  for (const [name, shard] of Object.entries(index?.weightMap ?? {})) {
    if (!homes.has(name)) throw new SafetensorsError(`${index!.file}: "${name}" is not in ${shard}`);
  }
  return homes;
}

export interface ShardOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  /** A file is closed before it would grow beyond. Default 5 GB, as Hugging Face has it. */
  readonly maxShardBytes?: number;
  /** Which file each tensor goes to, instead of by size. */
  readonly weightMap?: WeightMap;
  /** Each tensor begins at a multiple of it; see `writeSafetensors`. */
  readonly alignment?: number;
}

/**
 * Writes tensors into an existing folder: model.safetensors, or where they are too large for one file, shards with an
 * index in the form that Hugging Face's libraries write.
 * @returns bytes of the tensors
 * @throws WriteError when the disk refuses. @throws RangeError when a name is used twice or a shape is wrong.
 */
export async function writeTensors(
  folder: string,
  tensors: readonly TensorToWrite[],
  options: ShardOptions = {},
): Promise<number> {
  const { metadata = {}, maxShardBytes = 5e9, alignment } = options;
  const bytes = new Map(tensors.map(({ name, dtype, shape }) => [name, tensorBytes(dtype, shape) ?? 0]));
  const total = [...bytes.values()].reduce((sum, n) => sum + n, 0);
  const weightMap = options.weightMap ?? (total > maxShardBytes ? shardsBySize(tensors, bytes, maxShardBytes) : null);
  const write = (name: string, part: readonly TensorToWrite[]): Promise<void> =>
    writeSafetensors(path.join(folder, name), part, metadata, alignment === undefined ? {} : { alignment });
  if (weightMap === null) {
    await write(SINGLE, tensors);
    return total;
  }
  for (const shard of new Set(Object.values(weightMap))) {
    await write(
      shard,
      tensors.filter(({ name }) => weightMap[name] === shard),
    );
  }
  const isNumbered = Object.values(weightMap).every((shard) => NUMBERED.test(shard)); // NX-AI's have no index
  if (!isNumbered) writeText(path.join(folder, INDEX), indexText(total, weightMap));
  return total;
}

/** Tensors in their order, a new shard before one would grow too large; names as Hugging Face gives them. */
function shardsBySize(
  tensors: readonly TensorToWrite[],
  bytes: ReadonlyMap<string, number>,
  maxShardBytes: number,
): WeightMap {
  const shards: string[][] = [];
  let room = 0;
  for (const { name } of tensors) {
    const size = bytes.get(name)!;
    if (shards.length === 0 || size > room) {
      shards.push([]);
      room = maxShardBytes;
    }
    shards.at(-1)!.push(name);
    room -= size;
  }
  const number = (k: number): string => String(k).padStart(5, '0');
  const entries = shards.flatMap((names, k) => {
    const shard = `model-${number(k + 1)}-of-${number(shards.length)}.safetensors`;
    return names.map((name) => [name, shard] as const);
  });
  return Object.fromEntries(entries);
}

/** As Python's json.dumps(index, indent=2, sort_keys=True) has it, and a line end. */
function indexText(total: number, weightMap: WeightMap): string {
  const sorted = Object.fromEntries(Object.entries(weightMap).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ metadata: { total_size: total }, weight_map: sorted }, null, 2)}\n`;
}

/** Writes a small text file. @throws WriteError when the disk refuses. */
export function writeText(file: string, text: string): void {
  try {
    fs.writeFileSync(file, text);
  } catch (error) {
    throw explainWriteFailure(error, 'the model', file, Buffer.byteLength(text), 'it is not complete');
  }
}

/**
 * @file A model folder whose files are blobs, as a page has them: opened tensor by tensor, so that the weights are never all
 * in memory. Folders of this library, and of Hugging Face transformers; `checkpoint.ts` opens folders on disk, of every kind.
 */
import type { Device } from '../device/device.js';
import { blobTensors } from './blob-tensors.js';
import { sourceOf } from './formats/json-folder.js';
import { CONFIG_FILE, parseJson, WEIGHTS_FILE } from './formats/native-config.js';
import type { ModelFacts } from './formats/source.js';
import type { LanguageModel } from './language-model.js';
import { openModelFetching, type OpenModelOptions } from './open-model.js';

/** The files of a model folder by name; where they lie is the browser's business. */
export type FolderFiles = ReadonlyMap<string, Blob>;

/** Lists the files of a model in several. */
export const INDEX_FILE = 'model.safetensors.index.json';

export interface OpenFilesOptions extends OpenModelOptions {
  /** Stops between two tensors. */
  readonly signal?: AbortSignal;
}

/**
 * The model of a folder; to be trained unless `storage` or `trainable` say otherwise.
 * @throws Error that says which file is missing or damaged, or that it is no model; RangeError when tensors do not fit the
 *   configuration; what `signal` aborts with.
 */
export async function openModelFiles(
  files: FolderFiles,
  device: Device,
  { signal, ...options }: OpenFilesOptions = {},
): Promise<{ readonly model: LanguageModel; readonly facts: ModelFacts }> {
  const text = await textOf(files, CONFIG_FILE);
  const weights = await weightFiles(files);
  using tensors = await blobTensors(weights, [...weights.keys()].join(', '));
  const { config, parameters, facts } = sourceOf(text, tensors);
  const model = await openModelFetching(config, parameters, device, tensors.path, options, async ({ tensor }) => {
    signal?.throwIfAborted();
    await tensors.fetch(tensor);
  });
  return { model, facts };
}

/** The files with tensors: one, or those that the index names. @throws Error where one is missing. */
async function weightFiles(files: FolderFiles): Promise<Map<string, Blob>> {
  const single = files.get(WEIGHTS_FILE);
  if (single !== undefined) return new Map([[WEIGHTS_FILE, single]]);
  if (!files.has(INDEX_FILE)) throw new Error(`this folder holds no weights: there is no ${WEIGHTS_FILE}`);
  const shards = shardsOfIndex(await textOf(files, INDEX_FILE));
  return new Map(
    shards.map((shard) => {
      const blob = files.get(shard);
      if (blob === undefined) throw new Error(`${INDEX_FILE}: its file ${shard} is missing; choose it too`);
      return [shard, blob];
    }),
  );
}

/** The files that an index names. @throws Error when it is no index. */
export function shardsOfIndex(text: string): string[] {
  const map = parseJson(text, INDEX_FILE)['weight_map'];
  const names = typeof map === 'object' && map !== null ? [...new Set(Object.values(map) as unknown[])] : [];
  const isName = (name: unknown): name is string => typeof name === 'string' && /^[^\\/]+\.safetensors$/.test(name);
  if (names.length > 0 && names.every(isName)) return names;
  throw new Error(`${INDEX_FILE}: has no "weight_map" that names .safetensors files of the same folder`);
}

/** @throws Error where the file is missing. */
export async function textOf(files: FolderFiles, name: string): Promise<string> {
  const blob = files.get(name);
  if (blob === undefined) throw new Error(`this folder holds no model: there is no ${name}`);
  return blob.text();
}

/**
 * @file A model folder from where a page finds one: an address, or the files that a user chose. Downloads stream, with
 * progress. Nothing is opened here; `open-files.ts` does.
 */
import { CONFIG_FILE, WEIGHTS_FILE } from './formats/native-config.js';
import { INDEX_FILE, shardsOfIndex, type FolderFiles } from './open-files.js';

/** Files of a folder besides configuration and weights, which may be missing. */
const BESIDE = ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json', 'special_tokens_map.json'];

export interface FetchProgress {
  /** The file that is coming. */
  readonly file: string;
  /** Bytes of all files so far. */
  readonly loaded: number;
  /** Bytes of the files known so far; null where the server does not say. */
  readonly total: number | null;
}

export interface FetchOptions {
  readonly onProgress?: (progress: FetchProgress) => void;
  readonly signal?: AbortSignal;
}

/** A file that comes as a stream. */
export interface StreamedFile {
  readonly name: string;
  /** Bytes, where they are known beforehand. */
  readonly size: number | null;
  readonly stream: ReadableStream<Uint8Array>;
}

/**
 * The files of the model folder at an address, one after the other; each is to be read before the next is asked for.
 * @throws Error naming the file that is missing or broke off; what `signal` aborts with.
 */
export async function* streamModel(
  address: string | URL,
  { onProgress = () => {}, signal }: FetchOptions = {},
): AsyncGenerator<StreamedFile> {
  const base = new URL(String(address).replace(/\/?$/, '/'), documentAddress());
  let loaded = 0;
  let known: number | null = 0;
  const get = async (name: string): Promise<StreamedFile | null> => {
    const response = await request(new URL(name, base), signal);
    if (response === null) return null;
    const size = sizeOf(response);
    known = known === null || size === null ? null : known + size;
    const count = (bytes: number): void => onProgress({ file: name, loaded: (loaded += bytes), total: known });
    return { name, size, stream: counted(response.body!, name, size, count) };
  };
  const must = async (name: string): Promise<StreamedFile> => {
    const file = await get(name);
    if (file === null) throw new Error(`${base.href} is no model folder: it has no ${name}`);
    return file;
  };
  yield await must(CONFIG_FILE);
  for (const name of BESIDE) {
    const file = await get(name);
    if (file !== null) yield file;
  }
  const single = await get(WEIGHTS_FILE);
  if (single !== null) return yield single;
  const index = await must(INDEX_FILE);
  const text = await new Response(index.stream).text();
  yield { name: INDEX_FILE, size: index.size, stream: new Response(text).body! as ReadableStream<Uint8Array> };
  for (const shard of shardsOfIndex(text)) yield await must(shard);
}

/** What relative addresses are relative to: the page, where there is one. */
const documentAddress = (): string | undefined => (globalThis as { location?: { href: string } }).location?.href;

/** The answer, or null where there is no such file. */
async function request(url: URL, signal: AbortSignal | undefined): Promise<Response | null> {
  let response: Response;
  try {
    response = await fetch(url, signal === undefined ? {} : { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw new Error(`${url.href}: cannot be fetched (${(cause as Error).message}); is there a network?`, { cause });
  }
  // Many servers answer with a page of their own where there is no file.
  const isPage = response.headers.get('content-type')?.startsWith('text/html') === true;
  if (response.ok && !isPage && response.body !== null) return response;
  await response.body?.cancel();
  if (response.ok || response.status === 404) return null;
  throw new Error(`${url.href}: the server answers ${response.status} ${response.statusText}`.trim());
}

/** Bytes as they arrive here; compressed ones are not known. */
function sizeOf({ headers }: Response): number | null {
  const length = Number(headers.get('content-length') ?? NaN);
  return Number.isSafeInteger(length) && headers.get('content-encoding') === null ? length : null;
}

/** The stream, whose bytes are counted. It fails where it ends too early. */
function counted(
  body: ReadableStream<Uint8Array>,
  name: string,
  size: number | null,
  count: (bytes: number) => void,
): ReadableStream<Uint8Array> {
  let seen = 0;
  const counter = new TransformStream<Uint8Array, Uint8Array>({
    transform(piece, controller) {
      seen += piece.length;
      count(piece.length);
      controller.enqueue(piece);
    },
    flush() {
      if (size !== null && seen < size) throw new Error(`${name}: broke off after ${seen} of ${size} bytes; try again`);
    },
  });
  return body.pipeThrough(counter);
}

/**
 * The model folder at an address, as blobs: the browser keeps large ones out of memory. `ModelStore.save` takes the stream
 * of `streamModel` instead, which needs no room for a second copy.
 * @throws Error naming the file that is missing or broke off; what `signal` aborts with.
 */
export async function fetchModel(address: string | URL, options: FetchOptions = {}): Promise<FolderFiles> {
  const files = new Map<string, Blob>();
  for await (const { name, stream } of streamModel(address, options)) {
    try {
      files.set(name, await new Response(stream).blob());
    } catch (cause) {
      options.signal?.throwIfAborted();
      throw cause instanceof Error && cause.message.startsWith(`${name}:`)
        ? cause
        : new Error(`${name}: broke off (${(cause as Error).message}); try again`, { cause });
    }
  }
  return files;
}

/** A file that a user chose; with a path where a whole folder was chosen. */
export type ChosenFile = File & { readonly webkitRelativePath?: string };

/**
 * The model folder among files that a user chose: those of one folder, or a run of the command (its best checkpoint, or its
 * last one).
 * @throws Error when there is no model among them, or there are several.
 */
export async function chosenModel(chosen: Iterable<ChosenFile>): Promise<FolderFiles> {
  const folders = new Map<string, Map<string, Blob>>();
  let count = 0;
  for (const file of chosen) {
    count++;
    const path = file.webkitRelativePath || file.name;
    const folder = path.slice(0, Math.max(path.lastIndexOf('/'), 0));
    if (!folders.has(folder)) folders.set(folder, new Map());
    folders.get(folder)!.set(path.slice(path.lastIndexOf('/') + 1), file);
  }
  const models = [...folders].filter(([, files]) => isModel(files));
  const checkpoints = models.filter(([folder]) => CHECKPOINT.test(folder));
  if (checkpoints.length === models.length && models.length > 0) return bestCheckpoint(new Map(checkpoints));
  if (models.length === 1) return models[0]![1];
  const needed = `${CONFIG_FILE} and ${WEIGHTS_FILE}`;
  if (models.length === 0) {
    throw new Error(
      `no model among the ${count} files chosen: a model folder has ${needed}; choose the folder, or all its files`,
    );
  }
  const names = models.map(([folder]) => folder).join(', ');
  throw new Error(`several models among the files chosen (${names}); choose one folder`);
}

const isModel = (files: FolderFiles): boolean =>
  files.has(CONFIG_FILE) && (files.has(WEIGHTS_FILE) || files.has(INDEX_FILE));

/** checkpoints/<step> of a run. */
const CHECKPOINT = /(?:^|\/)checkpoints\/(\d+)$/;
const stepOf = (folder: string): number => Number(CHECKPOINT.exec(folder)![1]);

/** Of the checkpoints of a run: the last one says which was the best. */
async function bestCheckpoint(checkpoints: ReadonlyMap<string, FolderFiles>): Promise<FolderFiles> {
  const bySteps = new Map([...checkpoints].map(([folder, files]) => [stepOf(folder), files]));
  const last = bySteps.get(Math.max(...bySteps.keys()))!;
  const text = (await last.get('training.json')?.text()) ?? '{}';
  const best = (JSON.parse(text) as { best?: { step?: number } | null }).best?.step;
  return (best === undefined ? undefined : bySteps.get(best)) ?? last;
}

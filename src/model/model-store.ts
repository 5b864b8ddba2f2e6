/**
 * @file Models kept in the browser's private file system (OPFS), each a folder of the same files as everywhere. A save
 * writes beside what is there and takes its place at the end, so that a tab that is closed meanwhile loses nothing.
 *
 * models/<name>/<version>/ has the files, models/<name>/current.json says which version is the model: it is written last,
 * and a browser swaps a file whole. Other versions are leftovers, which the next save of that name removes.
 */
import type { StreamedFile } from './fetch-model.js';
import type { FolderFiles } from './open-files.js';
import {
  isNotFound,
  isQuotaError,
  StorageError,
  StorageFullError,
  type PageStorage,
  type StoreDirectory,
  type StoreFile,
} from './store-directory.js';

const FOLDER = 'models';
const CURRENT = 'current.json';

export interface StoredModel {
  readonly name: string;
  readonly bytes: number;
  /** When it was saved, in milliseconds since 1970. */
  readonly savedAt: number;
}

interface Current extends StoredModel {
  readonly version: string;
}

/** What can be stored: files by name, or as they come. */
export type FilesToStore = Iterable<readonly [string, Blob | string | Uint8Array]> | AsyncIterable<StreamedFile>;

export interface SaveOptions {
  /** Told how many bytes are written, of how many (null: not known). */
  readonly onProgress?: (written: number, total: number | null) => void;
  /** Stops the save; what was there before stays. */
  readonly signal?: AbortSignal;
}

export class ModelStore {
  readonly #root: StoreDirectory;
  readonly #storage: PageStorage;

  private constructor(root: StoreDirectory, storage: PageStorage) {
    this.#root = root;
    this.#storage = storage;
  }

  /**
   * The models of this page's origin. @param storage  by default the browser's
   * @throws StorageError where the browser has no private file system, saying what to do.
   */
  static async open(storage: PageStorage | undefined = pageStorage()): Promise<ModelStore> {
    if (storage?.getDirectory === undefined) {
      throw new StorageError(
        'this browser keeps no files for pages (it has no private file system), or the page is not in a secure context ' +
          '(https or localhost); download models as folders instead',
      );
    }
    try {
      const root = await (await storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });
      return new ModelStore(root, storage);
    } catch (cause) {
      throw new StorageError(
        `this browser does not give the page its private file system (${(cause as Error).message}); a private window may ` +
          'forbid it: download models as folders instead',
        { cause },
      );
    }
  }

  /** What is stored, the latest first. */
  async list(): Promise<StoredModel[]> {
    const found: StoredModel[] = [];
    for await (const [name, entry] of this.#root.entries()) {
      const current = entry.kind === 'directory' ? await readCurrent(entry) : null;
      if (current !== null) found.push({ name, bytes: current.bytes, savedAt: current.savedAt });
    }
    return found.sort((a, b) => b.savedAt - a.savedAt);
  }

  /**
   * Stores a model, in the place of one of the same name.
   * @throws StorageError for a name that cannot be; StorageFullError where there is no room; what `signal` aborts with. What
   *   was stored before stands then.
   */
  async save(name: string, files: FilesToStore, options: SaveOptions = {}): Promise<StoredModel> {
    checkName('a model', name);
    return locked(name, async () => {
      const folder = await this.#root.getDirectoryHandle(name, { create: true });
      const before = await readCurrent(folder);
      await removeOthers(folder, before);
      const version = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
      try {
        const bytes = await this.#writeVersion(folder, version, name, files, options);
        const current: Current = { name, bytes, savedAt: Date.now(), version };
        await writeWhole(await folder.getFileHandle(CURRENT, { create: true }), JSON.stringify(current));
        if (before !== null) await removeQuietly(folder, before.version);
        return { name, bytes, savedAt: current.savedAt };
      } catch (error) {
        await removeQuietly(folder, version);
        if (before === null) await removeQuietly(this.#root, name);
        throw isQuotaError(error) ? await this.#fullError(name, files, error) : error;
      }
    });
  }

  async #writeVersion(
    folder: StoreDirectory,
    version: string,
    name: string,
    files: FilesToStore,
    { onProgress = () => {}, signal }: SaveOptions,
  ): Promise<number> {
    const total = totalOf(files);
    await this.#checkRoom(name, total);
    const target = await folder.getDirectoryHandle(version, { create: true });
    let written = 0;
    for await (const { name: file, size, stream } of streamsOf(files)) {
      signal?.throwIfAborted();
      checkName('a file', file);
      await this.#checkRoom(name, size);
      const writable = await (await target.getFileHandle(file, { create: true })).createWritable();
      const counter = new TransformStream<Uint8Array, Uint8Array>({
        transform(piece, controller) {
          onProgress((written += piece.length), total);
          controller.enqueue(piece);
        },
      });
      // A pipe that fails or is aborted aborts the writable, which then leaves nothing.
      await stream.pipeThrough(counter).pipeTo(writable, signal === undefined ? {} : { signal });
    }
    return written;
  }

  async #checkRoom(name: string, needed: number | null): Promise<void> {
    const free = await this.#free();
    if (needed !== null && free !== null && needed > free) {
      throw new StorageFullError(`the model "${name}"`, needed, free);
    }
  }

  /** After the browser refused, whatever it had said about room. */
  async #fullError(name: string, files: FilesToStore, cause: unknown): Promise<StorageFullError> {
    const [needed, free] = [totalOf(files), await this.#free()];
    const isTrue = needed !== null && free !== null && free < needed;
    return new StorageFullError(`the model "${name}"`, needed, isTrue ? free : null, { cause });
  }

  /** Bytes that may still be stored; null where the browser does not say. */
  async #free(): Promise<number | null> {
    const { usage, quota } = await this.#storage.estimate();
    return usage === undefined || quota === undefined ? null : Math.max(quota - usage, 0);
  }

  /**
   * The files of a stored model. They are read when they are used; a save of the same name ends that.
   * @throws StorageError where there is no such model, or one of its files is gone.
   */
  async open(name: string): Promise<FolderFiles> {
    checkName('a model', name);
    const folder = await this.#root.getDirectoryHandle(name).catch(nullIfNotFound);
    const current = folder === null ? null : await readCurrent(folder);
    if (folder === null || current === null) throw new StorageError(`no model "${name}" is stored here`);
    const files = new Map<string, Blob>();
    for await (const [file, entry] of (await folder.getDirectoryHandle(current.version)).entries()) {
      if (entry.kind === 'file') files.set(file, await entry.getFile());
    }
    return files;
  }

  /** Removes a model. @throws StorageError where there is none of that name. */
  async remove(name: string): Promise<void> {
    checkName('a model', name);
    await locked(name, async () => {
      try {
        await this.#root.removeEntry(name, { recursive: true });
      } catch (error) {
        throw isNotFound(error) ? new StorageError(`no model "${name}" is stored here`) : error;
      }
    });
  }

  /** Asks the browser to keep the models when the disk becomes full, which it may refuse. */
  async persist(): Promise<boolean> {
    return (await this.#storage.persist?.()) ?? false;
  }
}

const pageStorage = (): PageStorage | undefined =>
  (globalThis as { navigator?: { storage?: PageStorage } }).navigator?.storage;

/** Letters, digits, spaces and . _ - ; no path, and nothing that a file system forbids. */
const NAME = /^[\p{L}\p{N}](?:[\p{L}\p{N} ._-]{0,98}[\p{L}\p{N}_-])?$/u;

function checkName(what: string, name: string): void {
  if (NAME.test(name)) return;
  throw new StorageError(
    `${JSON.stringify(name.slice(0, 120))} cannot be the name of ${what}: take 1 to 100 letters, digits, spaces and . _ -, ` +
      'beginning with a letter or digit',
  );
}

/** One save of a name at a time, in all tabs. */
async function locked<T>(name: string, body: () => Promise<T>): Promise<T> {
  interface Locks {
    request<T>(name: string, body: () => Promise<T>): Promise<T>;
  }
  const { locks } = (globalThis as { navigator?: { locks?: Locks } }).navigator ?? {};
  return locks === undefined ? body() : locks.request(`xlstm model ${name}`, body);
}

/** What current.json says; null where there is none, for a save that was never finished. */
async function readCurrent(folder: StoreDirectory): Promise<Current | null> {
  const file = await folder.getFileHandle(CURRENT).catch(nullIfNotFound);
  if (file === null) return null;
  try {
    const current = JSON.parse(await (await file.getFile()).text()) as Current;
    await folder.getDirectoryHandle(current.version);
    return current;
  } catch {
    return null; // empty: made, and the tab closed before it was written
  }
}

function nullIfNotFound(error: unknown): null {
  if (isNotFound(error)) return null;
  throw error;
}

/** Removes what saves that were not finished have left. */
async function removeOthers(folder: StoreDirectory, current: Current | null): Promise<void> {
  const names: string[] = [];
  for await (const [name] of folder.entries()) names.push(name);
  for (const name of names) if (name !== CURRENT && name !== current?.version) await removeQuietly(folder, name);
}

/** Another tab may still read it; then the next save removes it. */
const removeQuietly = (folder: StoreDirectory, name: string): Promise<void> =>
  folder.removeEntry(name, { recursive: true }).catch(() => {});

async function writeWhole(file: StoreFile, text: string): Promise<void> {
  await new Response(text).body!.pipeTo(await file.createWritable());
}

const sizeOf = (content: Blob | string | Uint8Array): number =>
  content instanceof Blob
    ? content.size
    : typeof content === 'string'
      ? new TextEncoder().encode(content).length
      : content.length;

/** Bytes of files that are all there; null for streams. */
function totalOf(files: FilesToStore): number | null {
  if (!(Symbol.iterator in files)) return null;
  let total = 0;
  for (const [, content] of files) total += sizeOf(content);
  return total;
}

async function* streamsOf(files: FilesToStore): AsyncGenerator<StreamedFile> {
  if (!(Symbol.iterator in files)) return yield* files;
  for (const [name, content] of files) {
    const blob = content instanceof Blob ? content : new Blob([content]);
    yield { name, size: blob.size, stream: blob.stream() as ReadableStream<Uint8Array> };
  }
}

/**
 * @file What the page keeps in the browser's private file system (OPFS): one model with its tokenizer, the moments of its
 * optimizer, its losses and its text, so that a reload, or a tab that was closed, loses nothing.
 *
 * A model is written into the one of two folders that is not in use, its session last; then the other one is removed. A
 * tab that is closed in between leaves the model that was there. Only one tab writes.
 */
import { formatBytes } from '../../../src/format.js';
import type { StepRow, TrainingStatus } from '../protocol.js';
import { chunksOf } from './chunks.js';
import { Turns } from './turns.js';

/** What is kept beside the files of a model. */
export interface Session {
  /** Of the text that it is trained on; null for a model that was opened. */
  readonly textId: string | null;
  readonly name: string;
  readonly facts: Readonly<Record<string, unknown>>;
  readonly status: TrainingStatus | null;
  readonly rows: readonly StepRow[];
}

/** Counts saves: of two folders that are whole, the later one counts. */
interface Turn {
  readonly turn: number;
}

/** The part of a worker's file handles that is used; the types of pages do not have it. */
interface SyncAccess {
  truncate(size: number): void;
  write(bytes: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}
type Writable = FileSystemFileHandle & { createSyncAccessHandle(): Promise<SyncAccess> };

const FOLDER = 'xlstm-playground';
/** The two folders. */
const SLOTS = ['a', 'b'] as const;
const SESSION = 'session.json';
const TEXT = 'text-';
const LOCK = 'xlstm-playground';
/** A tab that is being reloaded still holds the lock for a moment. */
const LOCK_WAIT_MS = 1500;

export class Store {
  /** What is kept now. */
  session: Session | null = null;
  /** Why nothing is kept, in a sentence; null where it is. */
  readonly problem: string | null;
  readonly #root: FileSystemDirectoryHandle | null;
  readonly #turns = new Turns();
  /** Texts whose model is not kept yet: a save that began before must not remove them. */
  readonly #newTexts = new Set<string>();
  #texts = 0;
  /** Of the last save; its last bit says which folder is in use. */
  #turn = 0;

  private constructor(root: FileSystemDirectoryHandle | null, problem: string | null) {
    this.#root = root;
    this.problem = problem;
  }

  /** Never fails: where the browser does not let it, nothing is kept, and `problem` says why. */
  static async open(): Promise<Store> {
    if (!(await takeLock())) {
      return new Store(null, 'Another tab has the playground open and keeps its model; this one keeps nothing.');
    }
    try {
      const top = await navigator.storage.getDirectory();
      return new Store(await top.getDirectoryHandle(FOLDER, { create: true }), null);
    } catch {
      return new Store(
        null,
        'This browser keeps no files for the page (a private window?): download the model before you leave.',
      );
    }
  }

  /** The files of the model that is kept, by name; null where there is none. */
  async load(): Promise<ReadonlyMap<string, File> | null> {
    const slots = await Promise.all(SLOTS.map((slot) => this.#read(slot)));
    const last = slots.reduce((a, b) => ((b?.session.turn ?? 0) > (a?.session.turn ?? 0) ? b : a));
    if (last === null) return null;
    this.session = last.session;
    return last.files;
  }

  /** What is in a folder; null where it was not written to the end, or never. */
  async #read(slot: string): Promise<{ session: Session & Turn; files: ReadonlyMap<string, File> } | null> {
    try {
      const folder = await this.#root!.getDirectoryHandle(slot);
      const files = new Map<string, File>();
      for await (const handle of folder.values()) {
        if (handle.kind === 'file') files.set(handle.name, await handle.getFile());
      }
      const session = JSON.parse(await files.get(SESSION)!.text()) as Session & Turn;
      files.delete(SESSION);
      this.#turn = Math.max(this.#turn, session.turn);
      return { session, files };
    } catch {
      return null;
    }
  }

  /**
   * Keeps a model in place of the one before.
   * @returns bytes that were written
   * @throws Error in a sentence when there is no room; what was kept before still is.
   */
  save(session: Session, files: ReadonlyMap<string, Blob>): Promise<number> {
    return this.#turns.take(() => this.#save(session, files));
  }

  async #save(session: Session, files: ReadonlyMap<string, Blob>): Promise<number> {
    if (this.#root === null) return 0;
    const turn = this.#turn + 1;
    const slot = SLOTS[turn % 2]!;
    await remove(this.#root, slot);
    let bytes = 0;
    try {
      const folder = await this.#root.getDirectoryHandle(slot, { create: true });
      // In this order: a folder with a session is whole.
      const all = [...files, [SESSION, new Blob([JSON.stringify({ ...session, turn })])]] as [string, Blob][];
      for (const [name, blob] of all) {
        await writeFile(folder, name, blob);
        bytes += blob.size;
      }
    } catch (error) {
      await remove(this.#root, slot);
      throw noRoom(
        error,
        [...files.values()].reduce((sum, { size }) => sum + size, 0),
      );
    }
    this.#turn = turn;
    this.session = session;
    if (session.textId !== null) this.#newTexts.delete(TEXT + session.textId);
    await remove(this.#root, SLOTS[(turn + 1) % 2]!);
    await this.#removeTexts(session.textId);
    return bytes;
  }

  /** Keeps a text to train on. @returns the id for `Session.textId` @throws Error in a sentence when there is no room. */
  async saveText(text: string): Promise<string> {
    const id = `${Date.now().toString(36)}-${this.#texts++}`;
    if (this.#root === null) return id;
    const blob = new Blob([text]);
    this.#newTexts.add(TEXT + id);
    try {
      await writeFile(this.#root, TEXT + id, blob);
    } catch (error) {
      await remove(this.#root, TEXT + id);
      throw noRoom(error, blob.size);
    }
    return id;
  }

  /** @throws Error in a sentence where the text is not there. */
  async loadText(id: string): Promise<string> {
    try {
      return await textOf(await this.#root!.getFileHandle(TEXT + id));
    } catch (cause) {
      throw new Error(
        'The text that this model was trained on is no longer kept; train a new model, or download this one.',
        { cause },
      );
    }
  }

  /** Forgets all that is kept. */
  clear(): Promise<void> {
    return this.#turns.take(async () => {
      this.session = null;
      this.#newTexts.clear();
      if (this.#root === null) return;
      for (const slot of SLOTS) await remove(this.#root, slot);
      await this.#removeTexts(null);
    });
  }

  async #removeTexts(but: string | null): Promise<void> {
    const names: string[] = [];
    for await (const name of this.#root!.keys())
      if (name.startsWith(TEXT) && name !== `${TEXT}${but}` && !this.#newTexts.has(name)) names.push(name);
    for (const name of names) await remove(this.#root!, name);
  }
}

/** Takes the lock of the page for as long as this worker lives. @returns whether it could be had */
function takeLock(): Promise<boolean> {
  const signal = AbortSignal.timeout(LOCK_WAIT_MS);
  return new Promise((resolve) => {
    const held = (): Promise<never> => {
      resolve(true);
      return new Promise(() => {}); // until the worker ends
    };
    navigator.locks.request(LOCK, { signal }, held).catch(() => resolve(false));
  });
}

const textOf = async (handle: FileSystemFileHandle): Promise<string> => (await handle.getFile()).text();

async function writeFile(folder: FileSystemDirectoryHandle, name: string, blob: Blob): Promise<void> {
  const handle = (await folder.getFileHandle(name, { create: true })) as Writable;
  const access = await handle.createSyncAccessHandle();
  try {
    access.truncate(0);
    let at = 0;
    for await (const chunk of chunksOf(blob)) {
      const written = access.write(chunk, { at });
      if (written < chunk.length) throw new DOMException('no room', 'QuotaExceededError');
      at += written;
    }
    access.flush();
  } finally {
    access.close();
  }
}

/** Removes a file or folder, if it is there. */
async function remove(folder: FileSystemDirectoryHandle, name: string): Promise<void> {
  await folder.removeEntry(name, { recursive: true }).catch(() => undefined);
}

/** A sentence for storage that is full; any other error as it is. */
function noRoom(error: unknown, bytes: number): Error {
  if (!(error instanceof DOMException && error.name === 'QuotaExceededError')) {
    return error instanceof Error ? error : new Error(String(error));
  }
  return new Error(
    `The browser has no room to keep ${formatBytes(bytes)} more: free some space, or download the model before you leave.`,
    { cause: error },
  );
}

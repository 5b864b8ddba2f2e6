/**
 * @file States kept for reuse, found by the tokens that they have read: in memory up to a bound, then on disk up to another,
 * the least used first to go. A state is only given for tokens that are the very ones it has read.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { LanguageModel } from '../model/language-model.js';
import { modelFingerprint } from '../model/fingerprint.js';
import { loadState, saveState, type SavedState } from '../model/state-file.js';

interface Entry {
  readonly tokens: Int32Array;
  readonly bytes: number;
  /** In memory, or on disk. */
  saved: SavedState | null;
  file: string | null;
}

export interface StateCacheOptions {
  /** Largest sum of bytes in memory and on disk. */
  readonly memory: number;
  readonly disk: number;
}

/** States of fewer tokens are not worth the memory: their tokens are read in less time. */
const LEAST_TOKENS = 16;

export class StateCache {
  readonly #model: LanguageModel;
  readonly #options: StateCacheOptions;
  /** By length and hash of the tokens; the least used first. */
  readonly #entries = new Map<string, Entry>();
  #folder: string | null = null;
  #fingerprint: string | null = null;
  #files = 0;
  memoryBytes = 0;
  diskBytes = 0;
  hits = 0;
  misses = 0;

  constructor(model: LanguageModel, options: StateCacheOptions) {
    this.#model = model;
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /**
   * The state of the longest known beginning of some tokens; at least one token is left, unless the state has logits.
   * @returns  the state, which stays the cache's and must be used before the next call, and how many tokens it has read
   */
  async find(tokens: Int32Array): Promise<{ readonly saved: SavedState; readonly length: number } | null> {
    const keys = keysOf(tokens);
    for (let length = tokens.length; length > 0; length--) {
      const entry = this.#entries.get(keys(length));
      if (entry === undefined || !isPrefix(entry.tokens, tokens)) continue;
      const saved = await this.#load(keys(length), entry);
      if (saved === null || (length === tokens.length && saved.logits === null)) continue;
      this.hits++;
      return { saved, length };
    }
    this.misses++;
    return null;
  }

  /** Takes over the state after `tokens`. */
  async keep(tokens: Int32Array, saved: SavedState): Promise<void> {
    const bytes = saved.state.bytes + 4 * tokens.length + (saved.logits?.byteLength ?? 0);
    const key = keysOf(tokens)(tokens.length);
    if (tokens.length < LEAST_TOKENS || bytes > this.#options.memory || this.#entries.has(key)) {
      saved.state.dispose();
      return;
    }
    this.#entries.set(key, { tokens: tokens.slice(), bytes, saved, file: null });
    this.memoryBytes += bytes;
    await this.#makeRoom();
  }

  /** Where files may be written that go with the cache: a private folder. */
  get folder(): string {
    return (this.#folder ??= fs.mkdtempSync(path.join(os.tmpdir(), 'xlstm-serve-')));
  }

  /** The fingerprint of the model, computed when it is first needed. */
  async fingerprint(): Promise<string> {
    return (this.#fingerprint ??= await modelFingerprint(this.#model));
  }

  /** The entry's state in memory, and the entry as the last used one. */
  async #load(key: string, entry: Entry): Promise<SavedState | null> {
    this.#entries.delete(key);
    if (entry.saved === null) {
      try {
        entry.saved = await loadState(entry.file!, this.#model, await this.fingerprint());
      } catch {
        this.#forgetFile(entry); // somebody has removed or damaged the file: the tokens are read again
        return null;
      }
      this.#forgetFile(entry);
      this.memoryBytes += entry.bytes;
    }
    this.#entries.set(key, entry);
    await this.#makeRoom();
    return entry.saved;
  }

  async #makeRoom(): Promise<void> {
    for (const [key, entry] of this.#entries) {
      if (this.memoryBytes <= this.#options.memory) break;
      if (entry.saved !== null) await this.#spill(key, entry);
    }
    for (const [key, entry] of this.#entries) {
      if (this.diskBytes <= this.#options.disk) break;
      if (entry.file === null) continue;
      this.#forgetFile(entry);
      this.#entries.delete(key);
    }
  }

  /** Moves a state to disk, or forgets it where the disk refuses or has no room by the bound. */
  async #spill(key: string, entry: Entry): Promise<void> {
    const saved = entry.saved!;
    entry.saved = null;
    this.memoryBytes -= entry.bytes;
    try {
      if (entry.bytes > this.#options.disk) throw new Error('no room');
      const file = path.join(this.folder, `${this.#files++}.state`);
      await saveState(file, saved.state, {
        model: await this.fingerprint(),
        tokens: saved.tokens,
        logits: saved.logits,
      });
      entry.file = file;
      this.diskBytes += entry.bytes;
    } catch {
      this.#entries.delete(key);
    } finally {
      saved.state.dispose();
    }
  }

  #forgetFile(entry: Entry): void {
    if (entry.file === null) return;
    fs.rmSync(entry.file, { force: true });
    entry.file = null;
    this.diskBytes -= entry.bytes;
  }

  /** Frees all states and removes the folder. */
  dispose(): void {
    for (const { saved } of this.#entries.values()) saved?.state.dispose();
    this.#entries.clear();
    this.removeFiles();
  }

  removeFiles(): void {
    if (this.#folder !== null) fs.rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The key of each beginning of some tokens: its length and two 32-bit hashes (FNV-1a over tokens, two primes). */
function keysOf(tokens: Int32Array): (length: number) => string {
  const hashes = new Uint32Array(2 * (tokens.length + 1));
  let [a, b] = [0x811c9dc5, 0x9747b28c];
  for (let k = 0; k < tokens.length; k++) {
    a = Math.imul(a ^ tokens[k]!, 0x01000193);
    b = Math.imul(b ^ tokens[k]!, 0x85ebca6b);
    b ^= b >>> 13;
    hashes[2 * k + 2] = a;
    hashes[2 * k + 3] = b;
  }
  return (length) => `${length}:${hashes[2 * length]}:${hashes[2 * length + 1]}`;
}

function isPrefix(prefix: Int32Array, tokens: Int32Array): boolean {
  if (prefix.length > tokens.length) return false;
  for (let k = 0; k < prefix.length; k++) if (prefix[k] !== tokens[k]) return false;
  return true;
}

/** @file A browser's private file system in memory, with a quota, for tests of what is kept in it. */
import type { PageStorage, StoreDirectory, StoreFile } from '../../src/model/store-directory.js';

const failure = (name: string): Error => Object.assign(new Error(name), { name });

class FakeFile implements StoreFile {
  readonly kind = 'file';
  content = new Uint8Array(0);
  readonly #disk: FakeStorage;

  constructor(disk: FakeStorage) {
    this.#disk = disk;
  }

  getFile(): Promise<Blob> {
    return Promise.resolve(new Blob([this.content]));
  }

  createWritable(): Promise<WritableStream<Uint8Array>> {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    const write = (piece: Uint8Array): void => {
      pieces.push(Uint8Array.from(piece));
      const size = pieces.reduce((sum, { length }) => sum + length, 0);
      if (this.#disk.usage + size > this.#disk.quota) throw failure('QuotaExceededError');
    };
    const close = async (): Promise<void> => {
      this.content = new Uint8Array(await new Blob(pieces).arrayBuffer());
    };
    return Promise.resolve(new WritableStream<Uint8Array>({ write, close }));
  }
}

class FakeDirectory implements StoreDirectory {
  readonly kind = 'directory';
  readonly children = new Map<string, FakeDirectory | FakeFile>();
  readonly #disk: FakeStorage;

  constructor(disk: FakeStorage) {
    this.#disk = disk;
  }

  async *entries(): AsyncGenerator<[string, FakeDirectory | FakeFile]> {
    yield* [...this.children];
  }

  async getDirectoryHandle(name: string, { create = false } = {}): Promise<FakeDirectory> {
    return this.#get(name, create, () => new FakeDirectory(this.#disk), FakeDirectory);
  }

  async getFileHandle(name: string, { create = false } = {}): Promise<FakeFile> {
    return this.#get(name, create, () => new FakeFile(this.#disk), FakeFile);
  }

  #get<T extends FakeDirectory | FakeFile>(
    name: string,
    create: boolean,
    make: () => T,
    kind: new (disk: FakeStorage) => T,
  ): T {
    const found = this.children.get(name);
    if (found instanceof kind) return found;
    if (found !== undefined) throw failure('TypeMismatchError');
    if (!create) throw failure('NotFoundError');
    const made = make();
    this.children.set(name, made);
    return made;
  }

  async removeEntry(name: string): Promise<void> {
    if (!this.children.delete(name)) throw failure('NotFoundError');
  }

  get bytes(): number {
    return [...this.children.values()].reduce(
      (sum, child) => sum + (child instanceof FakeFile ? child.content.length : child.bytes),
      0,
    );
  }
}

export class FakeStorage implements PageStorage {
  readonly root = new FakeDirectory(this);
  quota: number;
  /** Whether the browser says how much there is. */
  tells = true;

  constructor(quota = 1e9) {
    this.quota = quota;
  }

  get usage(): number {
    return this.root.bytes;
  }

  getDirectory(): Promise<StoreDirectory> {
    return Promise.resolve(this.root);
  }

  estimate(): Promise<{ usage?: number; quota?: number }> {
    return Promise.resolve(this.tells ? { usage: this.usage, quota: this.quota } : {});
  }

  /** The paths of all files, sorted. */
  get paths(): string[] {
    const walk = (directory: FakeDirectory, prefix: string): string[] =>
      [...directory.children].flatMap(([name, child]) =>
        child instanceof FakeFile ? [prefix + name] : walk(child, `${prefix}${name}/`),
      );
    return walk(this.root, '').sort();
  }
}

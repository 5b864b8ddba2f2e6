/** @file What the playground keeps, in a file system that is not real: saves that overlap lose neither model nor text. */
import { expect, it, onTestFinished, vi } from 'vitest';
import { Store, type Session } from '../../web/src/worker/store.js';

class FakeFile {
  readonly kind = 'file';
  readonly name: string;
  bytes = new Uint8Array();

  constructor(name: string) {
    this.name = name;
  }

  getFile = async () => new File([this.bytes], this.name);
  createSyncAccessHandle = async () => ({
    truncate: (size: number) => void (this.bytes = this.bytes.slice(0, size)),
    write: (piece: Uint8Array, { at }: { at: number }) => {
      this.bytes = Uint8Array.from([...this.bytes.subarray(0, at), ...piece]);
      return piece.length;
    },
    flush: () => {},
    close: () => {},
  });
}

class FakeFolder {
  readonly kind = 'directory';
  readonly children = new Map<string, FakeFile | FakeFolder>();
  getDirectoryHandle = async (name: string) => this.child(name, () => new FakeFolder());
  getFileHandle = async (name: string) => this.child(name, () => new FakeFile(name));
  removeEntry = async (name: string) => void this.children.delete(name);
  keys = () => this.children.keys();
  values = () => this.children.values();

  private child(name: string, make: () => FakeFile | FakeFolder): FakeFile | FakeFolder {
    if (!this.children.has(name)) this.children.set(name, make());
    return this.children.get(name)!;
  }
}

it('a text whose model is not kept yet outlives a save that began before', async () => {
  const top = new FakeFolder();
  const locks = {
    request: (_: string, __: unknown, held: () => Promise<never>) => (void held(), new Promise(() => {})),
  };
  vi.stubGlobal('navigator', { storage: { getDirectory: async () => top }, locks });
  onTestFinished(() => void vi.unstubAllGlobals());
  const store = await Store.open();
  expect(store.problem).toBe(null);
  const session = (textId: string): Session => ({ textId, name: 'a', facts: {}, status: null, rows: [] });
  const files = new Map([['model.safetensors', new Blob(['x'])]]);
  // Two saves of a new training, as when it is stopped while it is kept for the first time.
  const [first, second] = await Promise.all([store.saveText('one'), store.saveText('two')]);
  await Promise.all([store.save(session(first), files), store.save(session(second), files)]);
  expect(store.session!.textId).toBe(second);
  expect(await store.loadText(second)).toBe('two');
  const root = top.children.get('xlstm-playground') as FakeFolder;
  expect([...root.children.keys()].filter((name) => name.startsWith('text-'))).toEqual([`text-${second}`]);
  await store.clear();
  expect([...root.children.keys()]).toEqual([]);
});

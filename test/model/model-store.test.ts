/** @file Models kept in a page: saved whole or not at all, listed, opened, removed; names, quota, tabs that are closed. */
import { describe, expect, it } from 'vitest';
import { ModelStore } from '../../src/model/model-store.js';
import { StorageFullError, type PageStorage } from '../../src/model/store-directory.js';
import type { StreamedFile } from '../../src/model/fetch-model.js';
import { FakeStorage } from '../support/fake-storage.js';

const folder = (text: string) =>
  new Map<string, string | Uint8Array>([
    ['config.json', text],
    ['model.safetensors', new Uint8Array(1000).fill(text.length)],
  ]);

async function contents(store: ModelStore, name: string): Promise<Record<string, string | number>> {
  const files = await store.open(name);
  const weights = files.get('model.safetensors')!;
  const first = new Uint8Array(await weights.arrayBuffer())[0]!;
  return { config: await files.get('config.json')!.text(), bytes: weights.size, first, files: files.size };
}

const first = { config: 'one', bytes: 1000, first: 3, files: 2 };
const second = { config: 'second', bytes: 1000, first: 6, files: 2 };

/** A file that comes piece by piece; fails, or waits for ever, behind its first piece. */
function breaking(how: 'fails' | 'waits'): AsyncIterable<StreamedFile> {
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(new Uint8Array(500));
    },
    pull(controller) {
      if (how === 'waits') return new Promise(() => {});
      return controller.error(new Error('model.safetensors: broke off'));
    },
  });
  return (async function* () {
    yield { name: 'model.safetensors', size: null, stream };
  })();
}

describe('models kept in a page', () => {
  it('are saved, listed with the latest first, opened and removed', async () => {
    const storage = new FakeStorage();
    const store = await ModelStore.open(storage);
    expect(await store.list()).toEqual([]);
    const progress: [number, number | null][] = [];
    const saved = await store.save('one', folder('one'), { onProgress: (...share) => progress.push(share) });
    expect(saved).toMatchObject({ name: 'one', bytes: 1003 });
    expect(progress.at(-1)).toEqual([1003, 1003]);
    await new Promise((resolve) => setTimeout(resolve, 2));
    await store.save('Größe 2.0-b', folder('second'));
    const again = await ModelStore.open(storage);
    expect((await again.list()).map(({ name, bytes }) => [name, bytes])).toEqual([
      ['Größe 2.0-b', 1006],
      ['one', 1003],
    ]);
    expect(await contents(again, 'one')).toEqual(first);
    await again.remove('one');
    expect((await store.list()).map(({ name }) => name)).toEqual(['Größe 2.0-b']);
    await expect(store.open('one')).rejects.toThrow('no model "one" is stored here');
    await expect(store.remove('one')).rejects.toThrow('no model "one" is stored here');
  });

  it('are replaced whole, and nothing of the old one stays', async () => {
    const storage = new FakeStorage();
    const store = await ModelStore.open(storage);
    await store.save('m', folder('one'));
    await store.save('m', folder('second'));
    expect(await contents(store, 'm')).toEqual(second);
    expect(storage.paths.length).toBe(3);
  });

  it.each(['fails', 'aborts'] as const)('stand where the next save %s, and nothing of that stays', async (how) => {
    const storage = new FakeStorage();
    const store = await ModelStore.open(storage);
    await store.save('m', folder('one'));
    const before = storage.paths;
    const abort = new AbortController();
    const saving = store.save('m', breaking(how === 'fails' ? 'fails' : 'waits'), { signal: abort.signal });
    if (how === 'aborts') setTimeout(() => abort.abort(new Error('enough')), 20);
    await expect(saving).rejects.toThrow(how === 'fails' ? 'model.safetensors: broke off' : 'enough');
    expect(storage.paths).toEqual(before);
    expect(await contents(store, 'm')).toEqual(first);
    await expect(store.save('new', breaking('fails'))).rejects.toThrow('broke off');
    expect((await store.list()).map(({ name }) => name)).toEqual(['m']);
    expect(storage.paths).toEqual(before);
  });

  it('stand where the tab is closed in the middle of a save; the next save clears up', async () => {
    const storage = new FakeStorage();
    const store = await ModelStore.open(storage);
    await store.save('m', folder('one'));
    void store.save('m', breaking('waits'));
    void store.save('never', breaking('waits'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(storage.paths.length).toBe(5); // of both what was begun

    const next = await ModelStore.open(storage);
    expect((await next.list()).map(({ name }) => name)).toEqual(['m']);
    expect(await contents(next, 'm')).toEqual(first);
    await expect(next.open('never')).rejects.toThrow('no model "never"');
    await next.save('m', folder('second'));
    await next.save('never', folder('second'));
    expect(storage.paths.length).toBe(6);
    expect(await contents(next, 'm')).toEqual(second);
  });
});

describe('where there is no room', () => {
  it.each([true, false])(
    'the error says how much is needed and free, and the old model stands (told: %s)',
    async (tells) => {
      const storage = new FakeStorage(3000);
      const store = await ModelStore.open(storage);
      await store.save('m', folder('one'));
      storage.tells = tells;
      const before = storage.paths;
      const large = new Map([['model.safetensors', new Uint8Array(5000)]]);
      const error = await store.save('m', large).then(
        () => null,
        (reason: unknown) => reason as StorageFullError,
      );
      expect(error).toBeInstanceOf(StorageFullError);
      expect(error!.needed).toBe(5000);
      if (tells) {
        expect(error!.available).toBe(3000 - storage.usage);
        expect(error!.message).toMatch(/^the model "m" needs 5\.0 kB, and 1\.9 kB are free; remove a/);
      } else {
        expect(error!.available).toBe(null);
        expect(error!.message).toMatch(
          /^the model "m" needs 5\.0 kB, which is more than the browser gives this page; remove/,
        );
      }
      expect(error!.message).toMatch(/What was stored before is still there\.$/);
      expect(storage.paths).toEqual(before);
      expect(await contents(store, 'm')).toEqual(first);
    },
  );

  it('a download says so too', async () => {
    const store = await ModelStore.open(new FakeStorage(300));
    await expect(store.save('m', breaking('waits'))).rejects.toThrow(
      /^the model "m" needs more room than there is; remove a stored model/,
    );
  });
});

describe('names', () => {
  it.each(['', '.', '..', 'a/b', 'a\\b', '.hidden', ' a', 'a ', 'a.', 'a\nb', 'a:b', 'x'.repeat(101), '<b>'])(
    '%j is refused',
    async (name) => {
      const storage = new FakeStorage();
      const store = await ModelStore.open(storage);
      await expect(store.save(name, folder('one'))).rejects.toThrow(
        /cannot be the name of a model: take 1 to 100 letters/,
      );
      await expect(store.open(name)).rejects.toThrow('cannot be the name');
      await expect(store.remove(name)).rejects.toThrow('cannot be the name');
      expect(storage.paths).toEqual([]);
    },
  );

  it('so is a file that would leave its folder', async () => {
    const store = await ModelStore.open(new FakeStorage());
    await expect(store.save('m', new Map([['../x', 'y']]))).rejects.toThrow('cannot be the name of a file');
    expect(await store.list()).toEqual([]);
  });
});

it('a browser without a private file system is told what to do', async () => {
  await expect(ModelStore.open({} as PageStorage)).rejects.toThrow(
    /keeps no files for pages.*download models as folders/,
  );
  const forbidden = { getDirectory: () => Promise.reject(new Error('SecurityError')) } as unknown as PageStorage;
  await expect(ModelStore.open(forbidden)).rejects.toThrow(
    /does not give the page its private file system \(SecurityError\)/,
  );
});

/** @file Model folders as blobs: opened tensor by tensor, fetched with progress, chosen among files; and what is refused. */
import fs from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { loadModel } from '../../src/model/checkpoint.js';
import { chosenModel, fetchModel, type ChosenFile, type FetchProgress } from '../../src/model/fetch-model.js';
import { modelFingerprint } from '../../src/model/fingerprint.js';
import { convertModel } from '../../src/model/formats/convert.js';
import { openModelSource } from '../../src/model/formats/open.js';
import { openModelFiles, type FolderFiles } from '../../src/model/open-files.js';
import { tokenizerOfFiles } from '../../src/tokens/from-folder.js';
import { loadTokenizer } from '../../src/tokens/load.js';
import { referenceDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { goldenFolder } from '../support/models.js';
import { smallModelFolder } from '../support/small-model.js';

/** The files of a folder, each as a browser would give it. */
const blobsOf = (folder: string): Map<string, Blob> =>
  new Map(fs.readdirSync(folder).map((name) => [name, new Blob([fs.readFileSync(path.join(folder, name))])]));

const withFile = (files: FolderFiles, name: string, content: string | Uint8Array<ArrayBuffer> | null): FolderFiles => {
  const changed = new Map(files);
  if (content === null) changed.delete(name);
  else changed.set(name, new Blob([content]));
  return changed;
};

/** A blob that notes how many bytes of it are asked for at once. */
function watched(blob: Blob, asked: number[]): Blob {
  const slice = (begin: number, end: number): Blob => {
    asked.push(end - begin);
    return blob.slice(begin, end);
  };
  return Object.assign(
    Object.create(Blob.prototype) as Blob,
    { slice, arrayBuffer: () => expect.fail('read whole') },
    {},
  );
}

async function converted(options: Parameters<typeof convertModel>[3]): Promise<string> {
  const folder = temporaryFolder();
  using source = openModelSource(goldenFolder('hf_xlstm'));
  await convertModel(source, folder, 'hf', options);
  return folder;
}

describe('opened tensor by tensor', () => {
  it.each([{}, { storage: 'stored' }, { storage: 'int8' }] as const)(
    'with %j, it is the model of the folder',
    async (options) => {
      const folder = await smallModelFolder(3);
      const [device, progress] = [referenceDevice(), [] as number[]];
      const onProgress = (share: number): void => void progress.push(share);
      const { model, facts } = await openModelFiles(blobsOf(folder), device, { ...options, onProgress });
      const expected = loadModel(folder, device, options);
      expect(await modelFingerprint(model)).toBe(await modelFingerprint(expected.model));
      expect(facts).toEqual(expected.facts);
      expect(progress.at(-1)).toBe(1);
      expect(progress).toEqual(progress.toSorted((a, b) => a - b));
      model.dispose();
      expected.model.dispose();
      expect(device.memory.bytes).toBe(0);
    },
  );

  it('never has more than the header or one tensor in memory', async () => {
    const files = blobsOf(await smallModelFolder());
    const weights = files.get('model.safetensors')!;
    const asked: number[] = [];
    const size = { size: { value: weights.size } };
    files.set('model.safetensors', Object.defineProperties(watched(weights, asked), size));
    const { model } = await openModelFiles(files, referenceDevice());
    const largest = Math.max(...Object.values(model.tensors).map((tensor) => 4 * tensor.size));
    const [, header, ...tensors] = asked;
    expect(Math.max(...tensors)).toBe(largest);
    expect(tensors.length).toBe(Object.keys(model.tensors).length);
    expect(header).toBeLessThan(weights.size / 4);
  });

  it.each([
    ['as it came', {}],
    ['in shards', { maxShardBytes: 300_000 }],
    ['with fused matrices', { weightMode: 'fused' }],
  ] as const)('a model of Hugging Face, %s', async (_, options) => {
    const folder = await converted(options);
    const device = referenceDevice();
    const { model } = await openModelFiles(blobsOf(folder), device, { storage: 'stored' });
    using expected = loadModel(folder, device, { storage: 'stored' }).model;
    expect(await modelFingerprint(model)).toBe(await modelFingerprint(expected));
  });

  it('stops between two tensors, and frees what it has', async () => {
    const device = referenceDevice();
    const abort = new AbortController();
    const onProgress = (share: number): void => {
      if (share > 0.5) abort.abort(new Error('enough'));
    };
    const files = blobsOf(await smallModelFolder());
    for (const storage of [{}, { storage: 'stored' }] as const) {
      const opening = openModelFiles(files, device, { ...storage, onProgress, signal: abort.signal });
      await expect(opening).rejects.toThrow('enough');
      expect(device.memory.bytes).toBe(0);
    }
  });

  it('refuses what is no model, in a sentence', async () => {
    const files = blobsOf(await smallModelFolder());
    const weights = new Uint8Array(await files.get('model.safetensors')!.arrayBuffer());
    const cases: [files: FolderFiles, message: RegExp][] = [
      [new Map(), /^this folder holds no model: there is no config\.json$/],
      [withFile(files, 'model.safetensors', null), /^this folder holds no weights: there is no model\.safetensors$/],
      [withFile(files, 'config.json', 'hello'), /^config\.json: not JSON/],
      [withFile(files, 'config.json', '{}'), /^config\.json: has no "model_type"; this library reads xlstm/],
      [
        withFile(files, 'config.json', '{"model_type":"bert"}'),
        /^config\.json: is of a model of type "bert"; this library reads/,
      ],
      [
        withFile(files, 'model.safetensors', new Uint8Array(3)),
        /^model\.safetensors: a safetensors file begins with 8 bytes/,
      ],
      [
        withFile(files, 'model.safetensors', 'GGUF, and more of it'),
        /not a safetensors file; it looks like a GGUF file/,
      ],
      [withFile(files, 'model.safetensors', weights.slice(0, -4)), /the file is truncated/],
      [withFile(files, 'model.safetensors', weights.slice(0, 100)), /only 92 follow: the file is truncated/],
    ];
    for (const [broken, message] of cases) {
      await expect(openModelFiles(broken, referenceDevice())).rejects.toThrow(message);
    }
    const sharded = blobsOf(await converted({ maxShardBytes: 300_000 }));
    const shard = [...sharded.keys()].find((name) => name.endsWith('.safetensors'))!;
    await expect(openModelFiles(withFile(sharded, shard, null), referenceDevice())).rejects.toThrow(
      `model.safetensors.index.json: its file ${shard} is missing; choose it too`,
    );
    const index = 'model.safetensors.index.json';
    await expect(
      openModelFiles(withFile(sharded, index, '{"weight_map":{"a":"../b.safetensors"}}'), referenceDevice()),
    ).rejects.toThrow('has no "weight_map" that names');
  });

  it('says so where a file was changed meanwhile', async () => {
    const files = blobsOf(await smallModelFolder());
    const gone = { size: 1000, slice: () => ({ arrayBuffer: () => Promise.reject(new Error('NotReadableError')) }) };
    files.set('model.safetensors', gone as unknown as Blob);
    await expect(openModelFiles(files, referenceDevice())).rejects.toThrow(
      'model.safetensors: cannot be read any more (NotReadableError); it was changed or removed meanwhile: choose it again',
    );
  });

  it('its tokenizer comes along', async () => {
    const folder = await smallModelFolder();
    const tokenizer = await tokenizerOfFiles(blobsOf(folder));
    expect(tokenizer.fingerprint()).toBe((await loadTokenizer(folder)).fingerprint());
    await expect(tokenizerOfFiles(new Map())).rejects.toThrow('has no tokenizer.json; choose it too');
  });
});

describe('fetched', () => {
  /** A server for one test. @returns its address */
  async function serve(answer: (name: string, response: ServerResponse) => void): Promise<string> {
    const server = createServer((request: IncomingMessage, response) =>
      answer(request.url!.slice('/m/'.length), response),
    );
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/m`;
  }

  const files =
    (folder: string, change: (name: string, response: ServerResponse) => boolean = () => false) =>
    (name: string, response: ServerResponse): void => {
      if (change(name, response)) return;
      const file = path.join(folder, name);
      if (!fs.existsSync(file)) return void response.writeHead(404).end('no');
      response.setHeader('content-length', fs.statSync(file).size);
      response.end(fs.readFileSync(file));
    };

  it('with progress, the model is the same', async () => {
    const folder = await smallModelFolder(5);
    const progress: FetchProgress[] = [];
    const fetched = await fetchModel(await serve(files(folder)), { onProgress: (one) => progress.push(one) });
    expect([...fetched.keys()].sort()).toEqual(fs.readdirSync(folder).sort());
    const bytes = fs.readdirSync(folder).reduce((sum, name) => sum + fs.statSync(path.join(folder, name)).size, 0);
    expect(progress.at(-1)).toEqual({ file: 'model.safetensors', loaded: bytes, total: bytes });
    const device = referenceDevice();
    const { model } = await openModelFiles(fetched, device);
    expect(await modelFingerprint(model)).toBe(await modelFingerprint(loadModel(folder, device).model));
  });

  it('in shards too', async () => {
    const folder = await converted({ maxShardBytes: 300_000 });
    const fetched = await fetchModel(new URL(await serve(files(folder))));
    const names = fs.readdirSync(folder).filter((name) => /safetensors|config/.test(name));
    expect([...fetched.keys()].sort()).toEqual(names.sort());
    expect(names.length).toBeGreaterThan(3);
    await openModelFiles(fetched, referenceDevice(), { storage: 'stored' });
  });

  it('says what is missing, what broke off, what the server says', async () => {
    const folder = await smallModelFolder();
    const only = (wanted: string, act: (response: ServerResponse) => void) =>
      files(folder, (name, response) => {
        if (name !== wanted) return false;
        act(response);
        return true;
      });
    const page = (response: ServerResponse) => response.setHeader('content-type', 'text/html').end('<!doctype html>');
    await expect(fetchModel(await serve(only('config.json', page)))).rejects.toThrow(
      /is no model folder: it has no config\.json/,
    );
    const missing = only('model.safetensors', (response) => response.writeHead(404).end());
    await expect(fetchModel(await serve(missing))).rejects.toThrow(/it has no model\.safetensors\.index\.json/);
    const refused = only('model.safetensors', (response) => response.writeHead(403).end());
    await expect(fetchModel(await serve(refused))).rejects.toThrow(
      /model\.safetensors: the server answers 403 Forbidden/,
    );
    const broken = only('model.safetensors', (response) => {
      response.setHeader('content-length', 1000);
      response.write('x'.repeat(500));
      setTimeout(() => response.destroy(), 20);
    });
    await expect(fetchModel(await serve(broken))).rejects.toThrow(/^model\.safetensors: broke off .*; try again$/);
    await expect(fetchModel('http://127.0.0.1:1/m')).rejects.toThrow(
      /config\.json: cannot be fetched .*is there a network\?/,
    );
  });

  it('stops when it is told to', async () => {
    const folder = await smallModelFolder();
    const address = await serve(
      files(folder, (name, response) => {
        if (name === 'model.safetensors') response.write('x');
        return name === 'model.safetensors';
      }),
    );
    const abort = new AbortController();
    const fetching = fetchModel(address, { signal: abort.signal });
    setTimeout(() => abort.abort(new Error('enough')), 100);
    await expect(fetching).rejects.toThrow('enough');
  });
});

describe('chosen among files', () => {
  const file = (webkitRelativePath: string, text = webkitRelativePath): ChosenFile =>
    Object.assign(new File([text], webkitRelativePath.split('/').at(-1)!), { webkitRelativePath });
  const model = (folder: string) => [file(`${folder}config.json`), file(`${folder}model.safetensors`)];
  const configOf = async (files: FolderFiles) => files.get('config.json')!.text();

  it('those of one folder, with and without paths', async () => {
    expect(await configOf(await chosenModel([...model(''), file('tokenizer.json')]))).toBe('config.json');
    const folder = await chosenModel([file('m/README.md'), ...model('m/'), file('m/deeper/config.json')]);
    expect(await configOf(folder)).toBe('m/config.json');
    expect([...folder.keys()].sort()).toEqual(['README.md', 'config.json', 'model.safetensors']);
  });

  it('the best checkpoint of a run, or the last', async () => {
    const run = [...model('run/checkpoints/9/'), ...model('run/checkpoints/100/'), file('run/config.yaml')];
    expect(await configOf(await chosenModel(run))).toBe('run/checkpoints/100/config.json');
    const told = file('run/checkpoints/100/training.json', '{"best":{"step":9}}');
    expect(await configOf(await chosenModel([...run, told]))).toBe('run/checkpoints/9/config.json');
    const removed = file('run/checkpoints/100/training.json', '{"best":{"step":50}}');
    expect(await configOf(await chosenModel([...run, removed]))).toBe('run/checkpoints/100/config.json');
  });

  it('nothing where there is none, or several', async () => {
    await expect(chosenModel([file('a/book.txt')])).rejects.toThrow(
      /^no model among the 1 files chosen: a model folder has/,
    );
    await expect(chosenModel([...model('a/'), ...model('b/')])).rejects.toThrow(
      /several models .*\(a, b\); choose one/,
    );
  });
});

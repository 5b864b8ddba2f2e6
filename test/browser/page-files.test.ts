/** @file What the playground does with files, without a browser: finds the model among those picked, and writes archives. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { pickModel } from '../../web/src/worker/pick.js';
import { zipOf } from '../../web/src/worker/zip.js';
import { temporaryFolder } from '../support/folders.js';

/** Files of these paths, each with its path, or what is given, in it. */
const picked = (paths: readonly string[], contents: Readonly<Record<string, string>> = {}) =>
  paths.map((name) => ({ path: name, file: new File([contents[name] ?? name], path.basename(name)) }));

describe('the model among files that were picked', () => {
  const run = [3, 20, 100].flatMap((step) =>
    ['config.json', 'model.safetensors', 'tokenizer.json', 'training.json'].map(
      (name) => `runs/sotu/checkpoints/${step}/${name}`,
    ),
  );

  it('is the best checkpoint of a run, as the last one says', async () => {
    const bestIs = (step: number) => ({ 'runs/sotu/checkpoints/100/training.json': `{"best":{"step":${step}}}` });
    const { name, files } = await pickModel(picked(['runs/sotu/config.yaml', ...run], bestIs(20)));
    expect(name).toBe('sotu');
    expect(await files.get('config.json')!.text()).toBe('runs/sotu/checkpoints/20/config.json');
    const pruned = await pickModel(picked(run, bestIs(50)));
    expect(await pruned.files.get('config.json')!.text()).toBe('runs/sotu/checkpoints/100/config.json');
  });

  it('is a folder, or single files', async () => {
    const folder = await pickModel(
      picked(['m/config.json', 'm/a.safetensors', 'm/old/config.json', 'm/old/a.safetensors']),
    );
    expect([folder.name, [...folder.files.keys()]]).toEqual(['m', ['config.json', 'a.safetensors']]);
    const single = await pickModel(picked(['config.json', 'model.safetensors']));
    expect(single.files.size).toBe(2);
  });

  it('is missed in a sentence', async () => {
    await expect(pickModel(picked(['notes.txt']))).rejects.toThrow(
      /^notes\.txt is no model\. A model is a folder with /,
    );
    await expect(pickModel(picked(['a/x', 'a/y']))).rejects.toThrow(/^There is no model among these 2 files\./);
    await expect(pickModel(picked(['config.json', 'pytorch_model.bin']))).rejects.toThrow(
      /no \.safetensors file; weights in PyTorch’s own format must be converted first/,
    );
  });
});

describe.skipIf(spawnSync('unzip', ['-v']).status !== 0)('an archive (skipped without unzip)', () => {
  it('holds the files, to the byte', async () => {
    const folder = temporaryFolder();
    const bytes = Uint8Array.from({ length: 100_003 }, (_, k) => (k * 2_654_435_761) >>> 24);
    const files = { 'é/a.bin': bytes, 'é/leer': new Uint8Array() };
    const archive = await zipOf(Object.entries(files).map(([name, content]) => ({ name, blob: new Blob([content]) })));
    const file = path.join(folder, 'a.zip');
    writeFileSync(file, new Uint8Array(await archive.arrayBuffer()));
    const env = { ...process.env, LC_ALL: 'C.UTF-8' };
    execFileSync('unzip', ['-q', file, '-d', folder], { env }); // fails where a sum or a length is wrong
    for (const [name, content] of Object.entries(files)) {
      expect(readFileSync(path.join(folder, name)).equals(content), name).toBe(true);
    }
  });

  it('is refused where it would be too large', async () => {
    const blob = { size: 2 ** 32 } as Blob;
    await expect(zipOf([{ name: 'a', blob }])).rejects.toThrow('too large for a .zip file');
  });
});

/** @file A model as files in memory: those of its folder, to the byte, and back. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadModel, saveModel } from '../../src/model/checkpoint.js';
import { modelFingerprint } from '../../src/model/fingerprint.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { modelFiles, modelFromFiles, type ModelFiles } from '../../src/model/model-files.js';
import { parseSafetensors, safetensorsBytes } from '../../src/model/safetensors-bytes.js';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import { charTokenizer } from '../../src/tokens/chars.js';
import { tokenizerFromFiles } from '../../src/tokens/local-kinds.js';
import { referenceDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { goldenFolder } from '../support/models.js';

const config = { vocabSize: 11, dim: 16, blocks: ['mlstm', 'slstm'], mlstm: { heads: 2 }, slstm: { heads: 2 } };

it('has the files of a folder, and is opened from them to train and to run', async () => {
  const device = referenceDevice();
  using model = LanguageModel.create(config, device, 4);
  const facts = { tokenizer: 'f'.repeat(64), training: { text: 'a book' } };
  const folder = temporaryFolder();
  await saveModel(folder, model, facts);
  const files = await modelFiles(model, facts);
  expect(files['config.json']).toBe(fs.readFileSync(path.join(folder, 'config.json'), 'utf8'));
  const weights = fs.readFileSync(path.join(folder, 'model.safetensors'));
  expect(weights.equals(files['model.safetensors'])).toBe(true);

  const trainable = modelFromFiles(files, device);
  expect(trainable.facts).toEqual(facts);
  using again = trainable.model;
  using frozen = modelFromFiles(files, device, { storage: 'stored' }).model;
  expect(await modelFingerprint(again)).toBe(await modelFingerprint(frozen));
  expect(again.parameters.length).toBe(model.parameters.length);
  expect(() => frozen.parameters).toThrow('opened to be read only');
});

it('refuses files that do not belong together, or are damaged', async () => {
  const device = referenceDevice();
  using model = LanguageModel.create(config, device, 4);
  using other = LanguageModel.create({ ...config, blocks: ['mlstm'] }, device, 4);
  const files = await modelFiles(model, { tokenizer: null });
  const { 'config.json': small } = await modelFiles(other, { tokenizer: null });
  const held = device.memory.bytes;
  expect(() => modelFromFiles({ ...files, 'config.json': small }, device)).toThrow(
    /model\.safetensors: holds "blocks\.1\..*" *, which a model of this configuration does not have/,
  );
  expect(() => modelFromFiles({ ...files, 'config.json': '{' }, device)).toThrow('config.json: not JSON');
  const cut = files['model.safetensors'].subarray(0, -4);
  expect(() => modelFromFiles({ ...files, 'model.safetensors': cut }, device)).toThrow(/^model\.safetensors: /);
  expect(device.memory.bytes).toBe(held);
});

describe('a folder of Hugging Face transformers', () => {
  const names = ['hf_xlstm', 'hf_llama', 'hf_mamba', 'hf_mamba2', 'hf_rwkv'];
  const filesOf = (name: string): ModelFiles => ({
    'config.json': fs.readFileSync(path.join(goldenFolder(name), 'config.json'), 'utf8'),
    'model.safetensors': fs.readFileSync(path.join(goldenFolder(name), 'model.safetensors')),
  });

  it.each(names)('%s is the same model in memory as on disk', async (name) => {
    const device = referenceDevice();
    using onDisk = loadModel(goldenFolder(name), device).model;
    const { model, facts } = modelFromFiles(filesOf(name), device);
    expect(await modelFingerprint(model)).toBe(await modelFingerprint(onDisk));
    expect(facts).toEqual({ tokenizer: null, training: {} });
    model.dispose();
  });

  it('may have its weights in shards, none of them missing or twice', async () => {
    const device = referenceDevice();
    const { 'config.json': text, 'model.safetensors': bytes } = filesOf('hf_xlstm');
    const { tensors } = parseSafetensors(bytes);
    const all = [...tensors].map(([tensor, { dtype, shape, data }]) => ({ name: tensor, dtype, shape, data }));
    const shard = (from: number, to: number) => safetensorsBytes(all.slice(from, to), { format: 'pt' });
    const [one, two] = [await shard(0, 5), await shard(5, all.length)];
    using whole = modelFromFiles(filesOf('hf_xlstm'), device).model;
    using joined = modelFromFiles({ 'config.json': text, '1.safetensors': one, '2.safetensors': two }, device).model;
    expect(await modelFingerprint(joined)).toBe(await modelFingerprint(whole));
    const again = { 'config.json': text, '1.safetensors': one, '2.safetensors': bytes };
    expect(() => modelFromFiles(again, device)).toThrow(/^2\.safetensors: holds ".*", which is in 1\.safetensors too/);
    expect(() => modelFromFiles({ 'config.json': text, '1.safetensors': one }, device)).toThrow('lacks the tensor');
    expect(() => modelFromFiles({ 'config.json': text }, device)).toThrow('there is no model.safetensors beside it');
    expect(() => modelFromFiles({ ...filesOf('hf_xlstm'), 'config.json': '{"model_type":"bert"}' }, device)).toThrow(
      'config.json: is of a model of type "bert"; this library reads xlstm, llama',
    );
  });
});

it('comes with its tokenizer, from files as well', async () => {
  for (const tokenizer of [new ByteTokenizer(), await charTokenizer('a book')]) {
    const again = tokenizerFromFiles(tokenizer.files());
    expect(again.fingerprint()).toBe(tokenizer.fingerprint());
    expect(again.encode('book')).toEqual(tokenizer.encode('book'));
  }
  const files = new ByteTokenizer().files();
  const foreign = { ...JSON.parse(files['tokenizer.json']), model: { type: 'Unigram', vocab: [] } } as object;
  expect(() => tokenizerFromFiles({ ...files, 'tokenizer.json': JSON.stringify(foreign) })).toThrow(
    'tokenizer.json: not of bytes, characters or BPE',
  );
});

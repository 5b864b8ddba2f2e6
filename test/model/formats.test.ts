/**
 * @file Folders of other libraries: what is recognised, what is refused and how, the two layouts of the sLSTM, and that
 * every conversion gives the same bytes when it comes back.
 */
import fs from 'node:fs';
import path from 'node:path';
import { parse, stringify } from 'yaml';
import { describe, expect, it } from 'vitest';
import { findArchitecture } from '../../src/model/architectures.js';
import { loadModel, saveModel } from '../../src/model/checkpoint.js';
import { convertModel, type ConvertOptions, type ConvertTarget } from '../../src/model/formats/convert.js';
import { formatOf, openModelSource, type SourceOptions } from '../../src/model/formats/open.js';
import { presetConfig } from '../../src/model/presets.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { openSafetensors, writeSafetensors } from '../../src/model/safetensors.js';
import { fold, normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { referenceDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { goldenFolder } from '../support/models.js';

type Fields = Record<string, unknown>;

/** A copy of a golden checkpoint, with its configuration changed. */
function checkpoint(name: string, change: (fields: Fields) => void = () => {}): string {
  const folder = path.join(temporaryFolder(), name);
  fs.mkdirSync(folder);
  for (const file of ['config.json', 'config.yaml', 'model.safetensors']) {
    const from = path.join(goldenFolder(name), file);
    if (!fs.existsSync(from)) continue;
    fs.copyFileSync(from, path.join(folder, file));
  }
  const isJson = fs.existsSync(path.join(folder, 'config.json'));
  const file = isJson ? 'config.json' : 'config.yaml';
  const text = fs.readFileSync(path.join(folder, file), 'utf8');
  const fields = (isJson ? JSON.parse(text) : parse(text)) as Fields;
  const before = JSON.stringify(fields);
  change(fields);
  if (JSON.stringify(fields) !== before) {
    fs.writeFileSync(path.join(folder, file), isJson ? JSON.stringify(fields) : stringify(fields));
  }
  return folder;
}

async function converted(folder: string, target: ConvertTarget, options?: ConvertOptions): Promise<string> {
  const out = path.join(temporaryFolder(), target);
  fs.mkdirSync(out);
  using source = openModelSource(folder);
  await convertModel(source, out, target, options);
  return out;
}

const filesOf = (folder: string) =>
  new Map(fs.readdirSync(folder).map((name) => [name, fs.readFileSync(path.join(folder, name))]));

function expectSameFiles(folder: string, wanted: string): void {
  const [files, others] = [filesOf(folder), filesOf(wanted)];
  expect([...files.keys()]).toEqual([...others.keys()]);
  for (const [name, bytes] of others) expect(files.get(name)!.equals(bytes), name).toBe(true);
}

async function logitsOf(folder: string, options: SourceOptions = {}): Promise<Float64Array> {
  const device = referenceDevice();
  using model = loadModel(folder, device, options).model;
  const logits = scope(device, {}, () => {
    const tokens = Tensor.from(device, Int32Array.from([3, 17, 2, 40, 8, 8, 21, 5]), [1, 8]);
    return model.logits(model.forward(tokens).hidden);
  });
  const data = await logits.data();
  logits.dispose();
  return Float64Array.from(data);
}

describe('round trips, byte for byte', () => {
  it.each([
    ['hf_xlstm', 'hf'],
    ['hf_llama', 'hf'],
    ['hf_mamba', 'hf'],
    ['hf_mamba2', 'hf'],
    ['hf_rwkv', 'hf'],
    ['xlstm_large', 'nxai'],
    ['xlstm_lm_mixed', 'nxai'],
    ['xlstm_lm_tied_bias', 'nxai'],
  ] as const)('%s -> native -> %s', async (name, target) => {
    const folder = checkpoint(name);
    const native = await converted(folder, 'native');
    expect(formatOf(native)).toBe('native');
    expectSameFiles(await converted(native, target), folder);
    expect(await logitsOf(native)).toEqual(await logitsOf(folder));
  });

  it.each(['BF16', 'F16'] as const)('in %s, in shards with an index', async (dtype) => {
    const folder = await converted(checkpoint('hf_xlstm'), 'hf', { dtype, maxShardBytes: 300_000 });
    expect(fs.readdirSync(folder)).toContain('model-00002-of-00004.safetensors');
    const native = await converted(folder, 'native');
    using source = openModelSource(native);
    expect(new Set([...source.parameters.values()].map((parameter) => parameter.dtype))).toEqual(new Set([dtype]));
    expectSameFiles(await converted(native, 'hf'), folder);
  });

  it('in numbered files, as NX-AI has them', async () => {
    const folder = checkpoint('xlstm_large');
    const single = path.join(folder, 'model.safetensors');
    {
      using file = openSafetensors(single);
      const names = [...file.tensors.keys()];
      for (const part of [0, 1, 2]) {
        const tensors = names
          .filter((_, k) => k % 3 === part)
          .map((name) => ({ name, ...file.tensors.get(name)!, data: file.read(name) }));
        await writeSafetensors(path.join(folder, `model_${part}.safetensors`), tensors);
      }
    }
    fs.rmSync(single);
    expect(await logitsOf(folder)).toEqual(await logitsOf(checkpoint('xlstm_large')));
    expectSameFiles(await converted(await converted(folder, 'native'), 'nxai'), folder);
  });

  it('through another library: the same weights', async () => {
    const folder = checkpoint('hf_xlstm');
    const back = await converted(await converted(folder, 'nxai'), 'hf');
    const weights = (at: string) => fs.readFileSync(path.join(at, 'model.safetensors'));
    expect(weights(back).equals(weights(folder))).toBe(true);
    const fused = await converted(folder, 'hf', { weightMode: 'fused' });
    expect([...openSafetensors(path.join(fused, 'model.safetensors')).tensors.keys()]).toContain(
      'backbone.blocks.1.mlstm_layer.qkv_opreact.weight',
    );
    expect(await logitsOf(fused)).toEqual(await logitsOf(folder));
    expect(weights(await converted(fused, 'hf', { weightMode: 'single' })).equals(weights(folder))).toBe(true);
  });

  it('a model trained here -> nxai -> native, and its weights are those it had', async () => {
    const folder = path.join(temporaryFolder(), 'own');
    fs.mkdirSync(folder);
    const config = { vocabSize: 41, dim: 16, blocks: ['slstm', 'mlstm'], mlstm: { heads: 2 }, slstm: { heads: 2 } };
    using model = LanguageModel.create(config, referenceDevice(), 3);
    await saveModel(folder, model, { tokenizer: null });
    const back = await converted(await converted(folder, 'nxai'), 'native');
    const weights = (at: string) => fs.readFileSync(path.join(at, 'model.safetensors'));
    expect(weights(back).equals(weights(folder))).toBe(true);
    expect(await logitsOf(back)).toEqual(await logitsOf(folder));
  });

  it('a kept configuration is left behind when the model has become another', async () => {
    const native = await converted(checkpoint('xlstm_lm_mixed'), 'native');
    const file = path.join(native, 'config.json');
    const fields = JSON.parse(fs.readFileSync(file, 'utf8')) as { model: { dropout: number } };
    fs.writeFileSync(file, JSON.stringify({ ...fields, model: { ...fields.model, dropout: 0.25 } }));
    const back = parse(fs.readFileSync(path.join(await converted(native, 'nxai'), 'config.yaml'), 'utf8')) as Fields;
    expect(back['dropout']).toBe(0.25);
  });

  it.each([
    { tieWeights: true, bias: true, attention: { heads: 4, kvHeads: 2, theta: 5e4, window: 9 } },
    { tieWeights: false, bias: false, attention: { heads: 2, window: 64 } },
  ])('a Llama trained here -> hf -> native, and its logits are those it had: %j', async (more) => {
    const folder = path.join(temporaryFolder(), 'own');
    fs.mkdirSync(folder);
    const feedForward = { factor: 8 / 3, bias: more.bias, activation: 'silu' } as const;
    const config = {
      vocabSize: 41,
      dim: 24,
      blocks: ['attention', 'attention'],
      norm: 'rmsnorm',
      feedForward,
    } as const;
    using model = LanguageModel.create({ ...config, ...more, blocks: [...config.blocks] }, referenceDevice(), 3);
    await saveModel(folder, model, { tokenizer: null });
    const written = await converted(folder, 'hf');
    expect(JSON.parse(fs.readFileSync(path.join(written, 'config.json'), 'utf8'))).toMatchObject({
      model_type: 'llama',
      intermediate_size: 64,
      num_key_value_heads: 2,
      max_position_embeddings: more.attention.window,
    });
    expect(await logitsOf(await converted(written, 'native'))).toEqual(await logitsOf(folder));
  });

  it.each([
    { blocks: ['mamba', 'mamba'], norm: 'rmsnorm', bias: true, mamba: { expand: 1.5, stateSize: 5, stepRank: 3 } },
    { blocks: ['mamba'], norm: 'rmsnorm', tieWeights: true },
    { blocks: ['mamba2', 'mamba2'], norm: 'rmsnorm', mamba2: { expand: 1.5, headWidth: 9, groups: 2, stateSize: 5 } },
    { blocks: ['mamba2'], norm: 'rmsnorm', tieWeights: true },
    {
      blocks: ['rwkv4', 'rwkv4'],
      norm: 'layernormBias',
      embeddingNorm: true,
      rwkv4: { width: 40 },
      feedForward: { factor: 4, roundTo: 64 },
    },
    { blocks: ['rwkv4'], norm: 'layernormBias', embeddingNorm: true, tieWeights: true },
  ] as const)('trained here -> hf -> native, and its logits are those it had: %j', async (more) => {
    const folder = path.join(temporaryFolder(), 'own');
    fs.mkdirSync(folder);
    const config = { vocabSize: 41, dim: 24, ...more, blocks: [...more.blocks] };
    using model = LanguageModel.create(config, referenceDevice(), 3);
    // Maps that start at zero would hide each other.
    const key = fold(randomKey(4), 'weights');
    for (const [name, { size }] of Object.entries(model.tensors)) {
      if (name.endsWith('.weight')) model.parameters.write(name, normal(fold(key, name), size, 0, 0.3));
    }
    await saveModel(folder, model, { tokenizer: null });
    const written = await converted(folder, 'hf');
    expect(await logitsOf(written)).toEqual(await logitsOf(folder));
    expect(await logitsOf(await converted(written, 'native'))).toEqual(await logitsOf(folder));
  });

  it('a Llama folder of an older release: base of the frequencies beside, and frequencies among the tensors', async () => {
    const folder = checkpoint('hf_llama', (fields) => {
      delete fields['rope_parameters'];
      Object.assign(fields, { rope_theta: 10_000, rope_scaling: null, num_key_value_heads: null });
    });
    const file = path.join(folder, 'model.safetensors');
    const tensors = (() => {
      using stored = openSafetensors(file);
      return [...stored.tensors].map(([name, tensor]) => ({ name, ...tensor, data: stored.read(name) }));
    })();
    const frequencies = { dtype: 'F32', shape: [8], data: new Float32Array(8) } as const;
    await writeSafetensors(file, [
      ...tensors,
      { name: 'model.layers.0.self_attn.rotary_emb.inv_freq', ...frequencies },
    ]);
    expect(await logitsOf(folder)).toEqual(await logitsOf(checkpoint('hf_llama')));
  });

  it('says what the layout of Llama cannot hold', async () => {
    const folder = path.join(temporaryFolder(), 'gpt');
    fs.mkdirSync(folder);
    const { model: frame } = findArchitecture('gpt');
    using model = LanguageModel.create(
      { ...frame, vocabSize: 41, dim: 8, blocks: ['attention'], maxLength: 9 },
      referenceDevice(),
      3,
    );
    await saveModel(folder, model, { tokenizer: null });
    await expect(converted(folder, 'hf')).rejects.toThrow(
      'convert: the llama of hf cannot hold this model: its norms are not rmsnorm',
    );
  });

  it('says what a layout cannot hold', async () => {
    const folder = checkpoint('xlstm_lm_mixed');
    await expect(converted(folder, 'hf')).rejects.toThrow('convert: hf cannot hold this model: it has mlstm blocks');
  });
});

describe('the two layouts of the sLSTM', () => {
  const NAME = 'xlstm_lm_slstm_only';

  /** The checkpoint as the CUDA backend of the package stores it: blocks/slstm/cell.py. */
  async function cudaCheckpoint(change?: (fields: Fields) => void): Promise<string> {
    const folder = checkpoint(NAME, change);
    using file = openSafetensors(path.join(folder, 'model.safetensors'));
    const tensors = [...file.tensors].map(([name, { dtype, shape }]) => {
      const data = file.readFloat32(name) as Float32Array<ArrayBuffer>;
      if (name.endsWith('_recurrent_kernel_')) {
        const [NH, rows, columns] = shape as [number, number, number];
        const swapped = data.map((_, at) => {
          const [k, i, o] = [Math.floor(at / (rows * columns)), Math.floor(at / rows) % columns, at % rows];
          return data[(k * rows + o) * columns + i]!;
        });
        return { name, dtype, shape: [NH, columns, rows], data: swapped };
      }
      if (name.endsWith('_bias_')) {
        const NH = 4;
        const DH = data.length / 16;
        const byHead = data.map((_, at) => {
          const [k, g, j] = [Math.floor(at / (4 * DH)), Math.floor(at / DH) % 4, at % DH];
          return data[(g * NH + k) * DH + j]!;
        });
        return { name, dtype, shape, data: byHead };
      }
      return { name, dtype, shape, data };
    });
    await writeSafetensors(path.join(folder, 'model.safetensors'), tensors, file.metadata);
    return folder;
  }

  const setBackend = (backend: string) => (fields: Fields) => {
    (fields as { slstm_block: { slstm: Fields } }).slstm_block.slstm['backend'] = backend;
  };

  it('the shapes tell: the same logits, and the same bytes back', async () => {
    const plain = await logitsOf(checkpoint(NAME));
    for (const folder of [await cudaCheckpoint(), await cudaCheckpoint(setBackend('cuda'))]) {
      expect(await logitsOf(folder)).toEqual(plain);
      expectSameFiles(await converted(await converted(folder, 'native'), 'nxai'), folder);
    }
  });

  it('where the shapes do not tell, the user must', async () => {
    const folder = checkpoint(NAME);
    using file = openSafetensors(path.join(folder, 'model.safetensors'));
    const tensors = [...file.tensors].map(([name, { dtype, shape }]) => {
      const [NH, rows, DH] = shape as [number, number, number];
      const flat = name.endsWith('_recurrent_kernel_') ? [NH * rows, DH] : shape;
      return { name, dtype, shape: flat, data: file.read(name) };
    });
    await writeSafetensors(path.join(folder, 'model.safetensors'), tensors, file.metadata);
    expect(() => openModelSource(folder)).toThrow(/do not tell which backend .* say which with --source-backend/);
    // Said, it is taken at the word, and then the shape is still not that of the configuration.
    expect(() => openModelSource(folder, { sourceBackend: 'cuda' })).toThrow('must be [4,8,32] by the configuration');
  });

  it('a backend that was said wrongly is refused', async () => {
    const folder = await cudaCheckpoint();
    const message = 'the recurrent matrices have the shape of the cuda backend, not of vanilla';
    expect(() => openModelSource(folder, { sourceBackend: 'vanilla' })).toThrow(message);
    expect(await logitsOf(folder, { sourceBackend: 'cuda' })).toEqual(await logitsOf(checkpoint(NAME)));
  });
});

describe('refused in one sentence', () => {
  it.each([
    ['hf_xlstm', { use_bias: true }, 'use_bias: biases are not supported, use_bias must be false'],
    [
      'hf_xlstm',
      { model_type: 'bert' },
      'is of a model of type "bert"; this library reads xlstm, llama, mamba, mamba2, rwkv',
    ],
    ['hf_xlstm', { num_heads: 3 }, 'heads must divide the widths of keys and values'],
    ['hf_xlstm', { ffn_proj_factor: 4 }, 'ffn.proj_down.weight must be [128,512] by the configuration, got [128,384]'],
    ['hf_xlstm', { weight_mode: 'fused' }, 'lacks the tensor "backbone.blocks.0.mlstm_layer.qkv_opreact.weight"'],
    ['hf_xlstm', { num_hidden_layers: 1 }, 'holds "backbone.blocks.1.ffn.proj_down.weight", which a model of its'],
    ['hf_llama', { rope_scaling: { type: 'linear', factor: 2 } }, 'scaled rotary frequencies are not supported'],
    ['hf_llama', { rope_parameters: { rope_type: 'llama3', rope_theta: 1e4 } }, 'scaled rotary frequencies are not'],
    ['hf_llama', { hidden_act: 'gelu' }, 'the activation must be silu'],
    ['hf_llama', { head_dim: 32 }, 'head_dim: heads must share out hidden_size exactly: 4 heads of 32 are not 64'],
    ['hf_llama', { attention_bias: true }, 'lacks the tensor "model.layers.0.self_attn.q_proj.bias"'],
    ['hf_llama', { num_key_value_heads: 2 }, 'k_proj.weight must be [32,64] by the configuration, got [64,64]'],
    ['hf_mamba', { use_conv_bias: false }, 'use_conv_bias: the convolution must have a bias'],
    ['hf_mamba', { hidden_act: 'gelu' }, 'hidden_act: the activation must be silu'],
    ['hf_mamba', { time_step_rank: 3 }, 'dt_proj.weight must be [128,3] by the configuration, got [128,4]'],
    ['hf_mamba', { use_bias: true }, 'lacks the tensor "backbone.layers.0.mixer.in_proj.bias"'],
    ['hf_mamba2', { use_bias: true }, 'use_bias: biases of the projections are not supported'],
    [
      'hf_mamba2',
      { head_dim: 32 },
      'head_dim: heads must share out the inner width exactly: 8 heads of 32 are not 128',
    ],
    ['hf_mamba2', { time_step_limit: [0, 0.1] }, 'time_step_limit: step sizes must have no limits'],
    ['hf_mamba2', { state_size: 8 }, 'conv1d.bias must be [144] by the configuration, got [160]'],
    ['hf_rwkv', { attention_hidden_size: 48 }, 'time_decay must be [48] by the configuration, got [64]'],
    ['hf_rwkv', { intermediate_size: 192 }, 'feed_forward.key.weight must be [192,64] by the configuration'],
    ['xlstm_large', { eps: 1e-3 }, 'the eps of the cell must be 0.000001'],
    ['xlstm_large', { rope: true }, 'unknown field "rope"'],
    ['xlstm_lm_mixed', { slstm_at: [9] }, 'slstm_at: there is no block 9 of 4'],
    ['xlstm_lm_mixed', { mlstm_block: { mlstm: { round_proj_up_dim_up: false } } }, 'widths must be rounded up'],
    ['xlstm_lm_mixed', { slstm_block: { slstm: {}, feedforward: { act_fn: 'selu' } } }, 'is not one of gelu, relu'],
    ['xlstm_lm_mixed', { slstm_block: { slstm: { forward_clipval: 1 } } }, 'outputs of the cell must not be clipped'],
  ])('%s with %j', (name, change, message) => {
    const folder = checkpoint(name, (fields) => Object.assign(fields, change));
    expect(() => openModelSource(folder)).toThrow(message);
  });

  it('a folder that is no model, and files that are no text', () => {
    const folder = temporaryFolder();
    expect(() => openModelSource(folder)).toThrow('holds neither a model nor checkpoints; give a run folder');
    expect(() => openModelSource(path.join(folder, 'none'))).toThrow('does not exist');
    fs.writeFileSync(path.join(folder, 'config.yaml'), 'a: [1');
    expect(() => openModelSource(folder)).toThrow('not YAML');
    fs.writeFileSync(path.join(folder, 'config.yaml'), 'a: 1');
    expect(() => openModelSource(folder)).toThrow('is of no NX-AI model');
    fs.writeFileSync(path.join(folder, 'config.json'), '{');
    expect(() => openModelSource(folder)).toThrow('not JSON');
    fs.writeFileSync(path.join(folder, 'config.json'), '[]');
    expect(() => openModelSource(folder)).toThrow('must hold an object');
  });
});

it('a width that other libraries round down is read as they compute it', async () => {
  // 2.6667 * 24 = 64.0008: both round it by integer division, to 64.
  const folder = checkpoint('xlstm_large', (fields) => Object.assign(fields, { embedding_dim: 24 }));
  expect(() => openModelSource(folder)).toThrow(/must be \[\d+,24\]|must be \[24,/);
  const { readLargeConfig } = await import('../../src/model/formats/large.js');
  const { parameterTable } = await import('../../src/model/language-model.js');
  const fields = parse(fs.readFileSync(path.join(folder, 'config.yaml'), 'utf8')) as Fields;
  const { config } = readLargeConfig(fields, 'nxai-large', 'config.yaml');
  expect(parameterTable(config)['blocks.0.feedForward.up.weight']!.shape).toEqual([64, 24]);
});

it('a width that other libraries would round down is written so that they do not', async () => {
  const folder = path.join(temporaryFolder(), 'own');
  fs.mkdirSync(folder);
  // 2.6667 * 24 = 64.0008: 128 here, 64 by integer division.
  const large = { ...presetConfig('xlstm-large-tiny'), dim: 24, vocabSize: 41 };
  using model = LanguageModel.create(large, referenceDevice(), 3);
  await saveModel(folder, model, { tokenizer: null });
  const back = await converted(await converted(folder, 'hf'), 'native');
  expect(await logitsOf(back)).toEqual(await logitsOf(folder));
});

it('logits of a bf16 folder are those of its float32 twin, within the rounding of the weights', async () => {
  const folder = checkpoint('hf_xlstm');
  const error = relativeRms(await logitsOf(await converted(folder, 'hf', { dtype: 'BF16' })), await logitsOf(folder));
  expect(error).toBeGreaterThan(1e-4);
  expect(error).toBeLessThan(0.05);
});

/** @file Models from fixtures: the NX-AI/xlstm language models whose logits, losses and gradients were recorded. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { Device } from '../../src/device/device.js';
import type { ModelConfigInput } from '../../src/model/config.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { nxaiHalf, nxaiName } from '../../src/model/nxai-names.js';
import { readFixture, type Fixture } from './safetensors.js';

/** The values that a fixture has for a parameter, or its gradient. */
export function nxaiValues(fixture: Fixture, prefix: string, name: string, mixers: readonly string[]): Float32Array {
  const tensor = fixture.tensors[prefix + nxaiName(name, mixers)];
  if (tensor === undefined) throw new Error(`fixture lacks ${name}`);
  const data = tensor.data as Float32Array;
  const half = nxaiHalf(name);
  return half === null ? data : data.subarray((half * data.length) / 2, ((half + 1) * data.length) / 2);
}

/** A model with the parameters of a fixture, whose names may carry a prefix ("init."). */
export function modelFromNxai(config: ModelConfigInput, device: Device, fixture: Fixture, prefix = ''): LanguageModel {
  const model = new LanguageModel(config, device);
  for (const { name, length } of model.parameters.places) {
    const values = nxaiValues(fixture, prefix, name, model.config.blocks);
    if (values.length !== length) throw new Error(`fixture: ${name} has ${values.length} values, not ${length}`);
    model.parameters.write(name, Float64Array.from(values));
  }
  return model;
}

/** The configuration and fixtures of golden/<name>. */
export function goldenLanguageModel(name: string): { config: ModelConfigInput; weights: Fixture; expected: Fixture } {
  const folder = new URL(`../fixtures/golden/${name}/`, import.meta.url);
  const weights = readFixture(new URL('model.safetensors', folder));
  const expected = readFixture(new URL('expected.safetensors', folder));
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  const yaml = parse(readFileSync(new URL('config.yaml', folder), 'utf8'));
  const slstmAt: number[] | 'all' = yaml.slstm_at;
  const config = {
    vocabSize: yaml.vocab_size as number,
    dim: yaml.embedding_dim as number,
    blocks: Array.from({ length: yaml.num_blocks as number }, (_, k) =>
      slstmAt === 'all' || slstmAt.includes(k) ? 'slstm' : 'mlstm',
    ),
    mlstm: {
      heads: yaml.mlstm_block.mlstm.num_heads,
      convKernel: yaml.mlstm_block.mlstm.conv1d_kernel_size,
      qkvBlockSize: yaml.mlstm_block.mlstm.qkv_proj_blocksize,
      projectionFactor: yaml.mlstm_block.mlstm.proj_factor,
    },
    slstm: { heads: yaml.slstm_block.slstm.num_heads, convKernel: yaml.slstm_block.slstm.conv1d_kernel_size },
    feedForward: { factor: yaml.slstm_block.feedforward.proj_factor },
    tieWeights: yaml.tie_weights as boolean,
    bias: yaml.bias as boolean,
  };
  return { config, weights, expected };
}

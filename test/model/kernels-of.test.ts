/** @file Which kernels a model calls, and what "auto" makes of it. */
import { expect, it } from 'vitest';
import { ABSENT } from '../../src/device/cuda/absent.js';
import type { ModelConfigInput } from '../../src/model/config.js';
import { kernelsOf } from '../../src/model/kernels-of.js';
import { presetConfig, presetNames } from '../../src/model/presets.js';

const lacking = (config: ModelConfigInput): string[] =>
  Object.keys(ABSENT).filter((name) => (kernelsOf(config, { training: true }) as Set<string>).has(name));

it('tells inference from training', () => {
  const config = {
    dim: 16,
    blocks: ['mlstm', 'slstm'],
    vocabSize: 11,
    mlstm: { heads: 2 },
    slstm: { heads: 2 },
  };
  const inference = kernelsOf(config, { training: false });
  expect(inference).toContain('mlstmStep');
  expect(inference).toContain('slstmForward');
  expect(inference).not.toContain('mlstmBackward');
  const training = kernelsOf(config, { training: true });
  for (const name of ['mlstmBackward', 'slstmBackward', 'linearCrossEntropyForwardBackward', 'adamw'] as const)
    expect(training).toContain(name);
});

it('all presets have what they need on cuda; models of other mixers lack what they call', () => {
  for (const name of presetNames) expect(lacking({ vocabSize: 64, ...presetConfig(name) }), name).toEqual([]);
  expect(lacking({ dim: 16, blocks: ['mamba'], vocabSize: 11 })).toEqual([
    'selectiveScanForward',
    'selectiveScanBackward',
  ]);
});

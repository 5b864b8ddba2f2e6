/**
 * @file Every registered mixer, on every device: gradients against finite differences, step = sequence over cuts, causality,
 * documents packed into a row. A new mixer is tested by being registered; its variants are listed here.
 */
import { describe, expect, it } from 'vitest';
import { checkMixer, passes, type CheckOptions } from '../../src/experiments/check-mixer.js';
import { findMixer, mixerNames } from '../../src/mixers/registry.js';
import { testDevices } from '../support/devices.js';

/** Variants of options beside the default ones, and widths that a mixer needs. */
const VARIANTS: Readonly<Record<string, readonly Pick<CheckOptions, 'dim' | 'options'>[]>> = {
  mlstm: [
    {},
    { options: { upProjection: false, inputGateFrom: 'bias', forgetGateFrom: 'none' } },
    { options: { inputGate: 'sigmoid', normalize: false, convKernel: 0 } },
  ],
  slstm: [
    { options: { recurrentInit: 'standard' } },
    { options: { convKernel: 0, heads: 1 } },
    { options: { denseGates: true } },
  ],
  attention: [{}, { options: { kvHeads: 2, window: 4 } }, { options: { positions: 'none', window: 3 } }],
  mamba: [{ dim: 24 }, { options: { expand: 1.5, stateSize: 5, convKernel: 1, stepRank: 3 } }],
  rwkv4: [{}, { dim: 12, options: { width: 20 } }],
  hgrn: [{}, { options: { lowerBounds: false } }],
  deltanet: [{}, { options: { heads: 2, convKernel: 0, negativeEigenvalues: true } }],
  rwkv5: [{ options: { headDim: 8 } }, { dim: 12 }],
  rwkv6: [{ options: { headDim: 8, shiftRank: 3, decayRank: 5 } }, { dim: 12 }],
  rwkv7: [{ options: { headDim: 8, decayRank: 5 } }, { dim: 12 }],
  gatedDeltanet: [{}, { options: { convKernel: 2, negativeEigenvalues: true, chunkSize: 3 } }],
  linearAttention: [{}, { options: { heads: 2, causal: false } }],
  performer: [
    { options: { features: 12 } },
    { options: { kind: 'relu' } },
    { options: { features: 5, heads: 2, causal: false } },
  ],
  retnet: [{}, { dim: 24, options: { heads: 3, vFactor: 1 } }],
  gla: [{}, { options: { heads: 2, decayRank: 3, decayTemperature: 1 } }],
  hgrn2: [{ options: { headWidth: 8 } }, { options: { lowerBounds: false } }],
  synthesizer: [
    ...(['dense', 'random', 'factorised'] as const).flatMap((kind) =>
      [true, false].map((causal) => ({ options: { kind, causal, maxLength: 11, rank: 5 } })),
    ),
  ],
  linformer: [{ options: { maxLength: 11, rank: 3 } }],
  mamba2: [
    { options: { headWidth: 16, stateSize: 5 } },
    { dim: 24, options: { expand: 1.5, headWidth: 6, groups: 3, stateSize: 4, convKernel: 2 } },
  ],
  s4: [{ options: { stateSize: 8 } }, { dim: 9, options: { stateSize: 6, bidirectional: true } }],
  s4d: [
    { options: { stateSize: 8 } },
    { dim: 9, options: { stateSize: 4, init: 'inv' } },
    { options: { stateSize: 6, init: 'legs', bidirectional: true } },
  ],
  bigs: [
    { options: { stateSize: 6 } },
    { dim: 10, options: { stateSize: 4, init: 'lin', direction: 'forward', factor: 1.5 } },
  ],
  h3: [{ options: { stateSize: 8, shiftSize: 4 } }, { dim: 12, options: { headDim: 2, stateSize: 6, shiftSize: 1 } }],
  hyena: [
    { options: { maxLength: 20 } },
    { dim: 9, options: { maxLength: 6, embedding: 5, innerLayers: 0, width: 7 } },
  ],
  dss: [{ options: { stateSize: 5 } }, { dim: 9, options: { kind: 'softmax', stateSize: 4, length: 7 } }],
  lstm: [{ options: { convKernel: 0, cellNorm: false } }],
};

const cases = mixerNames().flatMap((name) => (VARIANTS[name] ?? [{}]).map((variant) => [name, variant] as const));

describe.each(cases)('%s %j', (name, variant) => {
  it('holds what every mixer holds', async () => {
    const devices = testDevices().map(({ create }) => create());
    for (const device of devices) device.poison = true;
    const checks = await checkMixer(findMixer(name)!, { ...variant, devices });
    expect(checks.length).toBeGreaterThan(6);
    expect(checks.filter((check) => !passes(check)).map(({ name: what, error }) => `${what}: ${error}`)).toEqual([]);
    for (const device of devices) expect(device.memory.bytes, device.name).toBe(0);
  });
});

/** @file The checks of mixers find what is wrong with one, and say it: each broken mixer fails in its own way, and only so. */
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import myMixer from '../../examples/my-mixer.js';
import { checkMixer, passes } from '../../src/experiments/check-mixer.js';
import type { ParameterTensors } from '../../src/layers/parameter.js';
import { defineMixer, type MixerDefinition } from '../../src/mixers/definition.js';
import { hgrnMixer } from '../../src/mixers/hgrn.js';
import { mlstmMixer } from '../../src/mixers/mlstm.js';
import type { Mixer } from '../../src/mixers/mixer.js';
import { activate, mul } from '../../src/ops/elementwise.js';
import { linear } from '../../src/ops/linear.js';
import { sliceTime } from '../../src/ops/time.js';
import { isRecorded, record } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { testDevices } from '../support/devices.js';

/** The example with something broken. */
const broken = (change: (mixer: Mixer) => Partial<Mixer>): MixerDefinition =>
  defineMixer({
    ...myMixer,
    options: z.strictObject({ rate: z.number().default(0.3) }),
    create(options, place) {
      const mixer = myMixer.create(options, place);
      return { ...mixer, ...change(mixer) };
    },
  });

/** 2 x whose gradient is that of x. */
function wrongDouble(x: Tensor): Tensor {
  const y = Tensor.output(x.device, x.shape);
  x.device.kernels.fill(y.buffer, 0, y.size);
  x.device.kernels.accumulate(y.buffer, x.buffer, 2, y.size);
  if (isRecorded([x])) record('wrongDouble', [y], [], ([dy]) => x.device.kernels.accumulate(x.grad, dy!, 1, y.size));
  return y;
}

/** Every output depends on every input of the row. */
function mixAll(x: Tensor): Tensor {
  const [B, T, D] = x.shape as [number, number, number];
  const all = linear(x.reshape([B, T * D]), Tensor.full(x.device, [T * D, T * D], 0.1));
  return activate(all, 'tanh').reshape([B, T, D]);
}

const FAULTS: readonly (readonly [name: string, mixer: MixerDefinition, failing: RegExp, meaning: string])[] = [
  [
    'a wrong gradient',
    broken(({ forward }) => ({
      forward(p, x, context) {
        const [y, state] = forward(p, x, context);
        return [wrongDouble(y), state];
      },
      step(p, x, state) {
        const [B, D] = x.shape as [number, number];
        const [y, next] = forward(p, x.reshape([B, 1, D]), { state, wantState: true, reset: null, key: null });
        return [wrongDouble(y).reshape([B, D]), next];
      },
    })),
    /^gradient of/,
    'back-propagation does not give the derivative of the forward pass',
  ],
  [
    'a gradient that does not reach one parameter',
    broken(({ forward }) => ({
      forward(p: ParameterTensors, x, context) {
        const weight = p['gate.weight']!; // a copy of it, of which the tape does not know
        const copy = Tensor.output(x.device, weight.shape);
        x.device.kernels.copy(copy.buffer, weight.buffer, weight.size);
        return forward({ ...p, 'gate.weight': copy }, x, context);
      },
    })),
    /^gradient of gate\.weight on/,
    'back-propagation does not give the derivative of the forward pass',
  ],
  [
    'outputs that depend on later inputs',
    broken(({ forward }) => ({
      forward(p, x, context) {
        const [y, state] = forward(p, x, context);
        return [mul(y, mixAll(x)), state];
      },
    })),
    /^(causality|step by step|in pieces|cut at random|packed)/,
    'an output depends on a later input; say so with `causal: false`',
  ],
  [
    'a step that forgets',
    broken(({ stateSpecs, step }) => ({
      step(p, x, state) {
        const [B] = x.shape as [number, number];
        const { shape } = stateSpecs(B)['average']!;
        return step(p, x, { ...state, average: Tensor.full(x.device, shape, 0) });
      },
    })),
    /^(step by step|in pieces, then steps|cut at random|in pieces)/,
    'the sequence form does not agree with the step form when the state is carried',
  ],
  [
    'a state that is not carried',
    broken(({ forward }) => ({ forward: (p, x, context) => forward(p, x, { ...context, state: null }) })),
    /^(in pieces|cut at random)/,
    'the sequence form does not agree with the step form when the state is carried',
  ],
  [
    'documents that see each other',
    broken(({ forward }) => ({ forward: (p, x, context) => forward(p, x, { ...context, reset: null }) })),
    /^packed = separate/,
    'a document sees something of the one before it in the row; honour `reset`',
  ],
  [
    'the first output where the last one is wanted',
    broken(({ forward }) => ({
      forward(p, x, context) {
        const [y, state] = forward(p, x, context);
        return [context.outputs === 'last' ? sliceTime(y, 0, 1) : y, state];
      },
    })),
    /^last output/,
    "with `outputs: 'last'` the last output or the state is another one",
  ],
  [
    'outputs that are not numbers',
    broken(({ forward }) => ({
      forward(p, x, context) {
        const [y, state] = forward(p, x, context);
        return [mul(y, Tensor.full(y.device, y.shape, NaN)), state];
      },
    })),
    /./,
    'back-propagation does not give the derivative of the forward pass',
  ],
  [
    'an exception',
    broken(() => ({
      step() {
        throw new Error('not written yet');
      },
    })),
    /^steps = sequence on/,
    'the mixer threw: not written yet',
  ],
];

const devices = () => testDevices().map(({ create }) => create());

describe('the checks of a mixer', () => {
  it.each([
    ['the example', myMixer, {}],
    ['the mLSTM', mlstmMixer, { options: { heads: 2 } }],
  ])('%s holds them all, whatever the seed', async (_, mixer, options) => {
    for (const seed of [0, 1]) {
      const checks = await checkMixer(mixer, { dim: 16, ...options, devices: devices(), seed });
      expect(checks.filter((one) => !passes(one))).toEqual([]);
      expect(checks.length).toBeGreaterThanOrEqual(14);
    }
  });

  it.each(FAULTS)('%s', async (_, mixer, failing, meaning) => {
    const checks = await checkMixer(mixer, { dim: 8, devices: devices() });
    const failed = checks.filter((one) => !passes(one));
    for (const { name } of testDevices()) {
      const here = failed.filter((one) => one.name.endsWith(`on ${name}`));
      expect(here.length, name).toBeGreaterThan(0);
      expect(here.filter((one) => !failing.test(one.name)).map((one) => one.name)).toEqual([]);
      expect(here.map((one) => one.meaning)).toContain(meaning);
    }
  });

  it('leaves out what does not apply to a mixer that looks ahead', async () => {
    const ahead = broken(() => ({ causal: false }));
    const names = (await checkMixer(ahead, { dim: 8 })).map(({ name }) => name);
    expect(names.filter((name) => !/^gradient of|^packed/.test(name))).toEqual([]);
  });

  it('are of two, one behind the other, where the first leaves something for later ones', async () => {
    const checks = await checkMixer(hgrnMixer, { dim: 8 });
    expect(checks.filter((one) => !passes(one))).toEqual([]);
    const names = checks.map(({ name }) => name);
    for (const name of ['first.bounds', 'second.forget.weight'])
      expect(names).toContain(`gradient of ${name} on reference`);
  });

  it('find a step that does not read what an earlier mixer left', async () => {
    const deaf = defineMixer({
      ...hgrnMixer,
      create: (options, place) => {
        const mixer = hgrnMixer.create(options, place);
        return {
          ...mixer,
          step: (p, x, state) =>
            mixer.step(p, x, state, { shared: new Map([['hgrn.bound.1', Tensor.full(x.device, [8], 0)]]) }),
        };
      },
    });
    const failed = (await checkMixer(deaf, { dim: 8 })).filter((one) => !passes(one)).map(({ name }) => name);
    expect(failed.length).toBeGreaterThan(0);
    expect(
      failed.filter((name) => !/^(step by step|in pieces, then steps|cut at random|in pieces)/.test(name)),
    ).toEqual([]);
  });
});

/**
 * @file Mixers of long convolutions beside what holds for every mixer: their initial values, memories longer than the check's
 * sequences, and filters that end.
 */
import { describe, expect, it } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { initialValues, smallInit, wangInit, type ParameterSpec } from '../../src/layers/parameter.js';
import { initialState, type Mixer, type MixerState } from '../../src/mixers/mixer.js';
import { findMixer } from '../../src/mixers/registry.js';
import { fold, normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';

function create(name: string, options: Record<string, unknown> = {}, dim = 48): Mixer {
  const definition = findMixer(name)!;
  const place = { dim, block: 0, blocks: 2, kindIndex: 0, kindBlocks: 2, dropout: 0, normEps: 1e-5, bias: true };
  return definition.create(definition.options.parse(options), {
    ...place,
    inputInit: smallInit(dim),
    outputInit: wangInit(dim, 2),
  });
}

const values = (mixer: Mixer, name: string): Float64Array =>
  initialValues(mixer.parameters[name] as ParameterSpec, fold(randomKey(0), name));

/** Channel 0 of [2,N,D]: real parts, then imaginary parts. */
function firstChannel(mixer: Mixer, name: string): [re: number[], im: number[]] {
  const [, N, D] = mixer.parameters[name]!.shape as [number, number, number];
  const all = values(mixer, name);
  const column = (part: number) => Array.from({ length: N }, (_, n) => all[(part * N + n) * D]!);
  return [column(0), column(1)];
}

const MIXERS = ['s4', 's4d', 'dss', 'bigs', 'h3', 'hyena'];

describe('initial values', () => {
  it.each(MIXERS)('%s: weight decay on the matrices over channels alone', (name) => {
    const decaying = Object.entries(create(name).parameters).flatMap(([key, spec]) => (spec.decay ? [key] : []));
    expect(decaying.length).toBeGreaterThan(0);
    expect(decaying.filter((key) => !/^(\w+\.)*(out|in|q|k|v|value|gate|conv)\.weight$/.test(key))).toEqual([]);
  });

  it('s4d: real parts -1/2; angles pi n, or (N/pi)(N/(2n+1) - 1), or those of HiPPO', () => {
    const angles = (init: string) => firstChannel(create('s4d', { init }), 'ssm.A');
    const [re, lin] = angles('lin');
    re.forEach((x) => expect(-Math.exp(x)).toBeCloseTo(-0.5, 12));
    expect(lin.slice(0, 3)).toEqual([0, Math.PI, 2 * Math.PI]);
    const inv = angles('inv')[1];
    expect(inv[0]).toBeCloseTo((64 / Math.PI) * 63, 9);
    expect(inv[31]).toBeCloseTo((64 / Math.PI) * (64 / 63 - 1), 9);
    const legs = angles('legs')[1];
    expect(legs).toHaveLength(32);
    expect(legs.every((x) => x < 0)).toBe(true);
  });

  it('C is complex normal with variance 1, skip normal, steps log-uniform in their range', () => {
    const mixer = create('s4d', { stepRange: [0.01, 0.5] }, 256);
    const variance = (x: Float64Array) => x.reduce((sum, v) => sum + v * v, 0) / x.length;
    expect(variance(values(mixer, 'ssm.C'))).toBeCloseTo(0.5, 1);
    expect(Math.abs(variance(values(mixer, 'ssm.skip')) - 1)).toBeLessThan(5 * Math.sqrt(2 / 256));
    const steps = values(mixer, 'ssm.logStep').map(Math.exp);
    expect(Math.min(...steps)).toBeGreaterThanOrEqual(0.01);
    expect(Math.max(...steps)).toBeLessThanOrEqual(0.5);
    expect(Math.max(...steps) / Math.min(...steps)).toBeGreaterThan(20);
  });

  it('s4: input weights of HiPPO with imaginary parts within 2; dss: positive angles; bigs: all eigenvalues', () => {
    const B = firstChannel(create('s4'), 'ssm.B')[1];
    expect(Math.max(...B.map(Math.abs))).toBeLessThanOrEqual(2);
    expect(firstChannel(create('dss', { stateSize: 8 }), 'ssm.A')[1].every((x) => x > 0)).toBe(true);
    const all = firstChannel(create('bigs', { stateSize: 8 }), 'forward.ssm.A')[1];
    expect(all.reduce((a, b) => a + b)).toBeCloseTo(0, 10);
    expect(new Set(all.map((x) => x.toFixed(6))).size).toBe(8);
  });
});

const [B, T, D] = [2, 40, 12];

describe.each(testDevices())('on $name', ({ create: createDevice }) => {
  const device: Device = createDevice();
  device.poison = true;
  const tolerance = device.precision === 'float64' ? 1e-10 : 1e-5;

  /** y of the whole sequence, or of pieces that end at `ends`, with documents where `reset` has a one. */
  async function run(mixer: Mixer, ends: readonly number[], reset: Uint8Array | null = null): Promise<Float64Array> {
    const p = Object.fromEntries(
      Object.entries(mixer.parameters).map(([name, { shape }]) => [
        name,
        Tensor.from(device, values(mixer, name), shape),
      ]),
    );
    const x = normal(randomKey(3), B * T * D);
    const out = new Float64Array(B * T * D);
    let state: MixerState | null = ends.length === 1 ? null : initialState(mixer, device, B);
    let from = 0;
    for (const to of ends) {
      const steps = to - from;
      const before = state;
      const rows = <A extends Float64Array | Uint8Array>(all: A, width: number): number[] =>
        Array.from({ length: B }, (_, b) => [...all.subarray((b * T + from) * width, (b * T + to) * width)]).flat();
      const { y, next } = scope(device, {}, () => {
        const flags = reset && Tensor.from(device, Uint8Array.from(rows(reset, 1)), [B, steps]);
        const context = { state: before, wantState: ends.length > 1, reset: flags, key: null, shared: new Map() };
        const [result, after] = mixer.forward(p, Tensor.from(device, rows(x, D), [B, steps, D]), context);
        return { y: result, next: { ...after } };
      });
      const data = await y.data();
      for (let b = 0; b < B; b++) out.set(data.subarray(b * steps * D, (b + 1) * steps * D), (b * T + from) * D);
      y.dispose();
      for (const tensor of Object.values(before ?? {})) tensor.dispose();
      state = next;
      from = to;
    }
    for (const tensor of [...Object.values(state ?? {}), ...Object.values(p)]) tensor.dispose();
    return out;
  }

  const reset = Uint8Array.from({ length: B * T }, (_, at) => Number([0, 7, 8, 22, 53, 66].includes(at)));

  it.each([
    ['s4', { stateSize: 8 }],
    ['s4d', { stateSize: 8 }],
    ['dss', { stateSize: 8 }],
    ['dss', { kind: 'softmax', stateSize: 6, length: 16 }],
    ['bigs', { stateSize: 8, direction: 'forward' }],
    ['h3', { stateSize: 8, shiftSize: 5 }],
    ['h3', { headDim: 3, stateSize: 4, shiftSize: 3 }],
    ['hyena', { maxLength: 64 }],
    // A filter shorter than the sequence: it looks back so far and no farther.
    ['hyena', { maxLength: 10 }],
  ])('%s %j: pieces with a state, some with documents in them, are the whole', async (name, options) => {
    const mixer = create(name, options, D);
    const whole = await run(mixer, [T], reset);
    expect(relativeRms(await run(mixer, [5, 12, 13, 30, 40], reset), whole)).toBeLessThan(tolerance);
    const one = await run(mixer, [T]);
    expect(relativeRms(await run(mixer, [1, 2, 33, 40]), one)).toBeLessThan(tolerance);
  });

  /** Gradients of the parameters, of the sequence in pieces that hand their state on. */
  async function gradients(mixer: Mixer, ends: readonly number[]): Promise<[string, Float64Array][]> {
    const data = normal(randomKey(3), B * T * D);
    const dy = normal(randomKey(4), B * T * D);
    const cut = (all: Float64Array, from: number, to: number): number[] =>
      Array.from({ length: B }, (_, b) => [...all.subarray((b * T + from) * D, (b * T + to) * D)]).flat();
    const found = scope(device, { record: true }, () => {
      const p = Object.fromEntries(
        Object.entries(mixer.parameters).map(([name, { shape }]) => [
          name,
          Tensor.from(device, values(mixer, name), shape),
        ]),
      );
      for (const tensor of Object.values(p)) tensor.requiresGrad = true;
      let state: MixerState | null = null;
      const roots = ends.map((to, k) => {
        const [from, shape] = [ends[k - 1] ?? 0, [B, to - (ends[k - 1] ?? 0), D]];
        const context = { state, wantState: to < T, reset: null, key: null, shared: new Map() };
        const [y, next] = mixer.forward(p, Tensor.from(device, cut(data, from, to), shape), context);
        state = next;
        return [y, Tensor.from(device, cut(dy, from, to), shape)] as const;
      });
      backward(roots);
      return Object.entries(p).map(([name, tensor]) => [name, tensor.gradTensor().retain()] as const);
    });
    const read = await Promise.all(
      found.map(async ([name, t]): Promise<[string, Float64Array]> => [name, Float64Array.from(await t.data())]),
    );
    for (const [, tensor] of found) tensor.dispose();
    return read;
  }

  it.each([
    ['s4', { stateSize: 8 }],
    ['s4d', { stateSize: 8 }],
    ['dss', { kind: 'softmax', stateSize: 6, length: 16 }],
    ['bigs', { stateSize: 8, direction: 'forward' }],
    ['h3', { headDim: 3, stateSize: 4, shiftSize: 3 }],
    ['hyena', { maxLength: 20 }],
  ])('%s %j: gradients through a state that is handed on are those of the whole', async (name, options) => {
    const mixer = create(name, options, D);
    const [whole, pieces] = [await gradients(mixer, [T]), await gradients(mixer, [9, 10, T])];
    pieces.forEach(([parameter, gradient], k) =>
      expect(relativeRms(gradient, whole[k]![1]), parameter).toBeLessThan(10 * tolerance),
    );
  });

  it('nothing is left over', () => expect(device.memory.bytes).toBe(0));
});

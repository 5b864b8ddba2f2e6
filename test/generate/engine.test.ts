/**
 * @file The engine: many sequences together give what each gives alone, however they join, leave and are cancelled; states
 * that come out go on; nothing is left in memory.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decode } from '../../src/generate/decode.js';
import { Engine, type EngineEvent, type EngineRequest } from '../../src/generate/engine.js';
import { DivergedError } from '../../src/generate/sampler.js';
import { LanguageModel } from '../../src/model/language-model.js';
import type { SavedState } from '../../src/model/state-file.js';
import { scope } from '../../src/tensor/scope.js';
import { normal, randomKey, uniform } from '../../src/tensor/random.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { testDevices } from '../support/devices.js';
import { recordingDevice } from '../support/recording.js';

const V = 37;
const config = {
  vocabSize: V,
  dim: 24,
  blocks: ['mlstm', 'slstm', 'lstm', 'mlstmLarge'],
  mlstm: { heads: 2 },
  slstm: { heads: 2, recurrentInit: 'standard' as const },
  lstm: { heads: 3, recurrentInit: 'standard' as const },
  mlstmLarge: { heads: 2 },
};
const tokensOf = (seed: number, length: number) => Int32Array.from(uniform(randomKey(seed), length, 0, V), Math.floor);

interface Outcome {
  readonly events: EngineEvent[];
  readonly texts: number[][];
}

async function collect(events: AsyncIterable<EngineEvent>): Promise<Outcome> {
  const all: EngineEvent[] = [];
  const texts: number[][] = [];
  for await (const event of events) {
    all.push(event);
    if (event.kind === 'token') (texts[event.index] ??= []).push(event.sample.token);
  }
  return { events: all, texts };
}

const endsOf = ({ events }: Outcome) => events.flatMap((event) => (event.kind === 'end' ? [event] : []));
const statesOf = ({ events }: Outcome) => events.flatMap((event) => (event.kind === 'state' ? [event.saved] : []));
const dispose = (saved: SavedState | null) => saved?.state.dispose();

async function alone(model: LanguageModel, request: EngineRequest): Promise<number[]> {
  const { tokens, maxTokens, stopTokens = [], sampling = {}, state } = request;
  const text: number[] = [];
  const options = { ...sampling, maxTokens, stopTokens, ...(state && { state }) };
  for await (const token of decode(model, tokens, options)) text.push(token);
  return text;
}

const devices = [...testDevices(), { name: 'a device that records steps', create: recordingDevice }];

describe.each(devices)('on $name', ({ create }) => {
  const device = create();
  device.poison = true;
  /** Logits far enough apart that rounding in batches of other sizes chooses no other token. */
  const createModel = () => {
    const model = LanguageModel.create(config, device, 1);
    model.parameters.write('head.weight', normal(randomKey(9), V * 24, 0, 3));
    return model;
  };

  it('whoever comes and goes: each request gets what it gets alone', async () => {
    using model = createModel();
    const before = device.memory.bytes;
    const request = fc.record({
      seed: fc.nat(1000),
      length: fc.integer({ min: 1, max: 40 }),
      maxTokens: fc.integer({ min: 0, max: 12 }),
      stop: fc.nat(V - 1),
      temperature: fc.constantFrom(0, 0.8),
      wait: fc.nat(6),
      leaveAfter: fc.option(fc.nat(5), { freq: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 9 }), async (requests) => {
        const engine = new Engine(model, { maxBatch: 4, prefillChunk: 7 });
        const outcomes = requests.map(async ({ seed, length, maxTokens, stop, temperature, wait, leaveAfter }) => {
          const asked = {
            tokens: tokensOf(seed, length),
            maxTokens,
            stopTokens: [stop],
            sampling: { temperature, seed },
          };
          for (let k = 0; k < wait; k++) await new Promise((resolve) => setImmediate(resolve));
          const text: number[] = [];
          for await (const event of engine.submit(asked)) {
            if (event.kind === 'token') text.push(event.sample.token);
            if (leaveAfter !== null && text.length > leaveAfter) break;
          }
          const whole = await alone(model, asked);
          expect(text).toEqual(leaveAfter === null ? whole : whole.slice(0, leaveAfter + 1));
        });
        await Promise.all(outcomes);
        await engine.close();
        expect(engine.stats).toMatchObject({ waiting: 0, reading: 0, decoding: 0 });
        expect(device.memory.bytes).toBe(before);
      }),
      { numRuns: device.name === 'cpu' ? 40 : 4 },
    );
  });

  it('several completions of one prompt, which is read once', async () => {
    using model = createModel();
    const engine = new Engine(model);
    const request = { tokens: tokensOf(5, 30), maxTokens: 9, n: 3, sampling: { seed: 40 } };
    const outcome = await collect(engine.submit(request));
    for (const [k, text] of outcome.texts.entries()) {
      expect(text).toEqual(await alone(model, { ...request, sampling: { seed: 40 + k } }));
    }
    const reasons = new Map(endsOf(outcome).map(({ index, reason }) => [index, reason]));
    expect([0, 1, 2].map((index) => reasons.get(index))).toEqual(['length', 'length', 'length']);
    expect(engine.stats.prefilled).toBe(30);
    await engine.close();
  });

  it('states at borders and at the end go on as if there had been no border', async () => {
    using model = createModel();
    const before = device.memory.bytes;
    const engine = new Engine(model, { prefillChunk: 8 });
    const tokens = tokensOf(6, 25);
    const greedy = { sampling: { temperature: 0 } };
    const first = await collect(
      engine.submit({ ...greedy, tokens, maxTokens: 6, keepStatesAt: [9, 25], keepFinalState: true }),
    );
    const [border, whole] = statesOf(first) as [SavedState, SavedState];
    expect([border.tokens, whole.tokens]).toEqual([9, 25]);
    const [text] = first.texts as [number[]];
    const rest = await collect(engine.submit({ ...greedy, tokens: tokens.subarray(9), state: border, maxTokens: 6 }));
    expect(rest.texts).toEqual([text]);
    const none = { ...greedy, tokens: new Int32Array(0), state: whole, maxTokens: 6 };
    expect((await collect(engine.submit(none))).texts).toEqual([text]);

    const { saved, reason } = endsOf(first)[0]!;
    expect([reason, saved!.tokens]).toEqual(['length', 30]);
    const more = await collect(
      engine.submit({ ...greedy, tokens: Int32Array.of(text.at(-1)!), state: saved!, maxTokens: 4 }),
    );
    const longer = await alone(model, { ...greedy, tokens, maxTokens: 10 });
    expect([...text, ...more.texts[0]!]).toEqual(longer);

    const stopTokens = [text[3]!];
    const stopped = await collect(engine.submit({ ...greedy, tokens, maxTokens: 6, stopTokens, keepFinalState: true }));
    const end = endsOf(stopped)[0]!;
    expect([end.reason, end.saved!.tokens]).toEqual(['stop', 25 + text.indexOf(text[3]!)]);
    [border, whole, saved, end.saved].forEach(dispose);
    await engine.close();
    expect(device.memory.bytes).toBe(before);
  });

  it('log-probabilities of a prompt are those of its logits', async () => {
    using model = createModel();
    const engine = new Engine(model, { prefillChunk: 5 });
    const tokens = tokensOf(7, 14);
    const { events, texts } = await collect(engine.submit({ tokens, maxTokens: 0, promptLogprobs: 2 }));
    const [prompt] = events;
    if (prompt?.kind !== 'prompt') return expect.fail('the first event is of the prompt');
    expect([prompt.tokens.length, texts.length]).toEqual([13, 0]);
    const logits = scope(device, {}, () => model.logits(model.forward(Tensor.from(device, tokens, [1, 14])).hidden));
    const values = await logits.data();
    logits.dispose();
    prompt.tokens.forEach(({ token, logprob, top }, k) => {
      const row = Float64Array.from(values.subarray(k * V, (k + 1) * V));
      const sum = row.reduce((total, x) => total + Math.exp(x), 0);
      expect(token).toBe(tokens[k + 1]);
      expect(logprob).toBeCloseTo(row[token]! - Math.log(sum), 4);
      expect(top[0]!.token).toBe(row.indexOf(Math.max(...row)));
      expect(top).toHaveLength(2);
    });
    await engine.close();
  });

  it('a long prompt does not hold up the others', async () => {
    using model = createModel();
    const engine = new Engine(model, { prefillChunk: 4 });
    const order: string[] = [];
    const watch = async (name: string, request: EngineRequest) => {
      for await (const event of engine.submit(request)) if (event.kind === 'token') order.push(name);
    };
    const short = watch('short', { tokens: tokensOf(1, 3), maxTokens: 12 });
    const long = watch('long', { tokens: tokensOf(2, 200), maxTokens: 1 });
    await Promise.all([short, long]);
    expect(order.indexOf('long')).toBe(12);
    await engine.close();
  });

  it('an aborted request ends as aborted; a diverged one fails alone', async () => {
    using model = createModel();
    const before = device.memory.bytes;
    const engine = new Engine(model);
    const controller = new AbortController();
    const aborted = collect(engine.submit({ tokens: tokensOf(1, 3), maxTokens: 1e6, signal: controller.signal }));
    const state = model.initialState(1);
    const bad = { state, tokens: 1, sequences: 1, logits: new Float32Array(V).fill(NaN) };
    const diverged = collect(engine.submit({ tokens: new Int32Array(0), state: bad, maxTokens: 3, n: 2 }));
    await expect(diverged).rejects.toThrow(DivergedError);
    const good = { tokens: tokensOf(3, 4), maxTokens: 5, sampling: { temperature: 0 } };
    expect((await collect(engine.submit(good))).texts).toEqual([await alone(model, good)]);
    controller.abort();
    expect(endsOf(await aborted)).toMatchObject([{ reason: 'aborted', saved: null }]);
    state.dispose();
    await engine.close();
    expect(device.memory.bytes).toBe(before);
    expect(() => engine.submit(good)).toThrow('is closed');
  });

  it('refuses what cannot be, at once', () => {
    using model = createModel();
    const engine = new Engine(model, { maxBatch: 2 });
    const good = { tokens: tokensOf(1, 3), maxTokens: 5 };
    expect(() => engine.submit({ ...good, tokens: new Int32Array(0) })).toThrow('at least one token');
    expect(() => engine.submit({ ...good, tokens: Int32Array.of(1, V) })).toThrow(`token ${V} at position 1`);
    expect(() => engine.submit({ ...good, n: 3 })).toThrow('3 completions are more than a batch holds (2)');
    expect(() => engine.submit({ ...good, maxTokens: -1 })).toThrow('maxTokens must be a whole number');
    expect(() => engine.submit({ ...good, sampling: { topP: 2 } })).toThrow('topP');
  });
});

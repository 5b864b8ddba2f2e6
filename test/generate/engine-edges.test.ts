/** @file The engine where something is odd: borders together with log-probabilities, failures of one request, wrong options. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Engine, type EngineEvent, type EngineRequest } from '../../src/generate/engine.js';
import { DivergedError } from '../../src/generate/sampler.js';
import { LanguageModel } from '../../src/model/language-model.js';
import type { SavedState } from '../../src/model/state-file.js';
import { testDevices } from '../support/devices.js';

const V = 37;
const config = {
  vocabSize: V,
  dim: 24,
  blocks: ['mlstm', 'slstm', 'mlstmLarge'],
  mlstm: { heads: 2 },
  slstm: { heads: 2 },
  mlstmLarge: { heads: 2 },
};
const tokens = Int32Array.from({ length: 20 }, (_, k) => (k * 7) % V);
const greedy = { sampling: { temperature: 0 } };

async function collect(events: AsyncIterable<EngineEvent>): Promise<EngineEvent[]> {
  const all: EngineEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

const textOf = (events: readonly EngineEvent[]) => events.flatMap((e) => (e.kind === 'token' ? [e.sample.token] : []));
const savedOf = (events: readonly EngineEvent[]): SavedState[] =>
  events.flatMap((event) => (event.kind === 'state' || event.kind === 'end' ? (event.saved ?? []) : []));

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  const createModel = () => LanguageModel.create(config, device, 1);
  afterEach(() => vi.restoreAllMocks());

  it('a state kept at a border has the logits of the border, with log-probabilities of the prompt as without', async () => {
    using model = createModel();
    const before = device.memory.bytes;
    const engine = new Engine(model, { prefillChunk: 8 });
    const ask = async (more: Partial<EngineRequest>): Promise<SavedState[]> =>
      savedOf(await collect(engine.submit({ tokens, maxTokens: 0, keepStatesAt: [9, 17], ...more })));
    const plain = await ask({});
    const scored = await ask({ promptLogprobs: 0 });
    expect(plain.map((saved) => saved.logits)).not.toContain(null);
    expect(scored.map((saved) => saved.logits)).toEqual(plain.map((saved) => saved.logits));

    const [from] = plain as [SavedState];
    const later = await ask({ state: from });
    const laterScored = await ask({ state: from, promptLogprobs: 0 });
    expect(laterScored.map((saved) => saved.logits)).toEqual(later.map((saved) => saved.logits));
    expect(laterScored[0]!.logits).not.toEqual(from.logits);
    for (const saved of [...plain, ...scored, ...later, ...laterScored]) saved.state.dispose();
    await engine.close();
    expect(device.memory.bytes).toBe(before);
  });

  it('logits that are no numbers give no log-probabilities of a prompt', async () => {
    using model = createModel();
    const engine = new Engine(model);
    using state = model.initialState(1);
    for (const logits of [
      new Float32Array(V).fill(NaN),
      Float32Array.from({ length: V }, (_, k) => (k === 0 ? NaN : k)),
    ]) {
      const from = { state, tokens: 1, sequences: 1, logits };
      const asked = engine.submit({ tokens, state: from, maxTokens: 0, promptLogprobs: 1 });
      await expect(collect(asked)).rejects.toThrow(DivergedError);
    }
    await engine.close();
  });

  it('memory that does not suffice for one request ends that one alone, and nothing of it is left', async () => {
    using model = createModel();
    const before = device.memory.bytes;
    const asked = { ...greedy, tokens, maxTokens: 30 };
    const engine = new Engine(model);
    const whole = textOf(await collect(engine.submit(asked)));
    const other = collect(engine.submit(asked));
    const victim = collect(engine.submit({ tokens, maxTokens: 5, n: 3 }));
    const alloc = device.alloc.bind(device);
    // The memory of C of four sequences, and whatever else is as large.
    vi.spyOn(device, 'alloc').mockImplementation((dtype, length) => {
      if (length >= 4 * 2 * 12 * 24 && engine.stats.decoding > 0) throw new Error('memory is exhausted');
      return alloc(dtype, length);
    });
    await expect(victim).rejects.toThrow('memory is exhausted');
    expect(textOf(await other)).toEqual(whole);
    await engine.close();
    expect(device.memory.bytes).toBe(before);
  });

  it('a state that cannot be copied out fails its own request', async () => {
    using model = createModel();
    const before = device.memory.bytes;
    const engine = new Engine(model);
    const whole = textOf(await collect(engine.submit({ ...greedy, tokens, maxTokens: 12 })));
    const other = collect(engine.submit({ ...greedy, tokens, maxTokens: 12 }));
    const victim = engine.submit({ ...greedy, tokens, maxTokens: 4, keepFinalState: true });
    const initialState = model.initialState.bind(model);
    let decoding = 0;
    const read: EngineEvent[] = [];
    vi.spyOn(model, 'initialState').mockImplementation((B) => {
      if (B === 1 && decoding === 3) throw new Error('memory is exhausted');
      return initialState(B);
    });
    const reading = (async () => {
      for await (const event of victim) {
        read.push(event);
        decoding++;
      }
    })();
    await expect(reading).rejects.toThrow('memory is exhausted');
    expect(textOf(read)).toEqual(whole.slice(0, 4));
    expect(textOf(await other)).toEqual(whole);
    await engine.close();
    expect(device.memory.bytes).toBe(before);
  });

  it('refuses options and borders that cannot be', () => {
    using model = createModel();
    expect(() => new Engine(model, { maxBatch: 0 })).toThrow('maxBatch must be a whole number of at least 1, got 0');
    expect(() => new Engine(model, { prefillChunk: 1.5 })).toThrow('prefillChunk must be a whole number');
    const engine = new Engine(model);
    for (const at of [0, -1, 2.5, NaN, 21]) {
      expect(() => engine.submit({ tokens, maxTokens: 1, keepStatesAt: [at] })).toThrow('from 1 to the 20 tokens');
    }
  });
});

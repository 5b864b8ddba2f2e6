/** @file The engine where something is odd: borders together with log-probabilities, logits that are no numbers, wrong options. */
import { describe, expect, it } from 'vitest';
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

async function collect(events: AsyncIterable<EngineEvent>): Promise<EngineEvent[]> {
  const all: EngineEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

const savedOf = (events: readonly EngineEvent[]): SavedState[] =>
  events.flatMap((event) => (event.kind === 'state' || event.kind === 'end' ? (event.saved ?? []) : []));

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  const createModel = () => LanguageModel.create(config, device, 1);

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

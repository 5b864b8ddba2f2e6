/** @file Going on from a state is going on from the text: token for token, whichever part of it the state has read. */
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { decode, Session, type DecodeOptions } from '../../src/generate/decode.js';
import { promptTokensAtOnce } from '../../src/generate/tokens-at-once.js';
import { saveSession } from '../../src/generate/session-file.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { loadState } from '../../src/model/state-file.js';
import { randomKey, uniform } from '../../src/tensor/random.js';
import { testDevices } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';

const V = 37;
const config = { vocabSize: V, dim: 16, blocks: ['mlstm', 'slstm'], mlstm: { heads: 2 }, slstm: { heads: 2 } };
const prompt = Int32Array.from(uniform(randomKey(1), 40, 0, V), Math.floor);

async function collect(model: LanguageModel, tokens: Int32Array, options: DecodeOptions): Promise<number[]> {
  const out: number[] = [];
  for await (const token of decode(model, tokens, { maxTokens: 25, temperature: 0, ...options })) out.push(token);
  return out;
}

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;

  it('decode from a saved state gives what decode of the whole prompt gives', async () => {
    using model = LanguageModel.create(config, device, 3);
    const whole = await collect(model, prompt, {});
    expect(new Set(whole).size).toBeGreaterThan(1);
    const file = path.join(temporaryFolder(), 'a.state');
    for (const cut of [1, 17, 39, 40]) {
      using session = new Session(model);
      await session.read(prompt.subarray(0, cut));
      await saveSession(file, session);
      const state = await loadState(file, model);
      const rest = prompt.subarray(cut);
      expect(await collect(model, rest, { state }), `cut at ${cut}`).toEqual(whole);
      expect(await collect(model, rest, { state }), 'the state stays as it is').toEqual(whole);
      state.state.dispose();
    }
    expect(await collect(model, prompt.subarray(20), {}), 'the state matters').not.toEqual(whole);
  });

  it('a long prompt is read in parts; an aborted one up to the end of a part, whose logits it then has', async () => {
    using model = LanguageModel.create(config, device, 3);
    const part = promptTokensAtOnce(device);
    const long = Int32Array.from(uniform(randomKey(2), 2 * part, 0, V), Math.floor);
    const controller = new AbortController();
    const sessions = Array.from({ length: 4 }, () => new Session(model));
    const [one, more, two, aborted] = sessions as [Session, Session, Session, Session];
    await one.read(long.subarray(0, part));
    await more.read(long.subarray(0, part + 1));
    await two.read(long);
    const reading = aborted.read(long, controller.signal);
    controller.abort();
    await reading;
    expect(sessions.map(({ position }) => position)).toEqual([part, part + 1, 2 * part, part]);
    expect(aborted.logits).toEqual(one.logits);
    expect(two.logits).not.toEqual(one.logits);
    await one.read(long.subarray(part, part + 1));
    expect(one.logits).toEqual(more.logits);
    const before = two.logits;
    await two.read(new Int32Array(0));
    expect(two.logits).toBe(before);
    for (const session of sessions) session.dispose();
  });

  it('a state before the first token does not replace a prompt', async () => {
    using model = LanguageModel.create(config, device, 3);
    using session = new Session(model);
    const state = session.snapshot();
    await expect(collect(model, new Int32Array(0), { state })).rejects.toThrow(
      'the prompt must have at least one token',
    );
    state.state.dispose();
  });
});

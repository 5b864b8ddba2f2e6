/** @file The probability of a continuation against the obvious computation: one token after the other by `step`. */
import { afterAll, describe, expect, it } from 'vitest';
import { ContinuationReader } from '../../src/evaluate/continuation.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import { charTokenizer } from '../../src/tokens/chars.js';
import { testDevices } from '../support/devices.js';

const tokenizer = new ByteTokenizer();
const config = {
  vocabSize: tokenizer.vocabSize,
  dim: 16,
  blocks: ['mlstm', 'slstm'],
  mlstm: { heads: 2 },
  slstm: { heads: 2 },
};

/** Logits after each token, by the step form. */
async function stepLogits(model: LanguageModel, tokens: readonly number[]): Promise<number[][]> {
  const rows: number[][] = [];
  let state = model.initialState(1);
  for (const token of tokens) {
    const result = scope(model.device, {}, () =>
      model.step(Tensor.from(model.device, Int32Array.of(token), [1]), state),
    );
    state.dispose();
    state = result.state;
    rows.push([...(await result.logits.data())]);
    result.logits.dispose();
  }
  state.dispose();
  return rows;
}

/** log p of tokens that follow others, by the step form. */
async function stepSum(model: LanguageModel, before: readonly number[], tokens: readonly number[]): Promise<number> {
  const rows = await stepLogits(model, [...before, ...tokens]);
  return tokens.reduce((sum, token, t) => {
    const row = rows[before.length + t - 1]!;
    const top = Math.max(...row);
    return sum + row[token]! - top - Math.log(row.reduce((all, logit) => all + Math.exp(logit - top), 0));
  }, 0);
}

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  const model = LanguageModel.create(config, device, 3);
  afterAll(() => model[Symbol.dispose]());

  it('sums log p of the tokens, for several continuations of a context and of others', async () => {
    using reader = new ContinuationReader(model, tokenizer);
    for (const [context, continuation] of [
      ['The cat', ' sat'],
      ['The cat', ' ran off'],
      ['The car', ' sat'],
      ['', 'x'],
      // Longer than what is read at once.
      ['long '.repeat(150).trimEnd(), ' way'],
      ['The cat', ' sat'],
    ] as const) {
      const before = [tokenizer.eosId!, ...tokenizer.encode(context)];
      const expected = await stepSum(model, before, [...tokenizer.encode(continuation)]);
      expect((await reader.score(context, continuation)).sum).toBeCloseTo(expected, 4);
    }
  });

  it('scores white space at the end of a context with what follows', async () => {
    using reader = new ContinuationReader(model, tokenizer);
    expect(await reader.score('one \n', 'two')).toEqual(await reader.score('one', ' \ntwo'));
  });

  it('is greedy where each token is the most probable one, and only there', async () => {
    const letters = await charTokenizer('abcdefgh');
    using small = LanguageModel.create({ ...config, vocabSize: letters.vocabSize }, device, 5);
    using reader = new ContinuationReader(small, letters);
    const tokens = [...letters.encode('bad')];
    for (let n = 0; n < 4; n++) {
      const row = (await stepLogits(small, tokens)).at(-1)!;
      tokens.push(row.indexOf(Math.max(...row)));
    }
    const best = letters.decode(tokens).slice(3);
    expect((await reader.score('bad', best)).greedy).toBe(true);
    for (let k = 0; k < 4; k++) {
      const other = best[k] === 'a' ? 'b' : 'a';
      expect((await reader.score('bad', best.slice(0, k) + other + best.slice(k + 1))).greedy).toBe(false);
    }
    await expect(reader.score('', 'a')).rejects.toThrow('0 tokens before 1 tokens of "a"');
    await expect(reader.score('a', '')).rejects.toThrow('1 tokens before 0 tokens');
  });
});

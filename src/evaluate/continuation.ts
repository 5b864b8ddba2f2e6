/**
 * @file How probable a continuation of a text is to a language model: what zero-shot tasks ask (`data/tasks/multiple-choice.ts`).
 * It knows no task.
 */
import type { Continuation } from '../data/tasks/multiple-choice.js';
import type { FloatArray } from '../device/device.js';
import { giveWay } from '../event-loop.js';
import type { LanguageModel } from '../model/language-model.js';
import type { ModelState } from '../model/state.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { Tokenizer } from '../tokens/tokenizer.js';

/** Tokens of a context that are read at once. */
const STRETCH = 512;

/**
 * Scores continuations, and reads a context once for all that are asked in a row.
 *
 * Text becomes tokens as in the LM evaluation harness: white space at the end of the context goes to the continuation, both
 * are encoded as one text, and the context is as many of its tokens as it has alone. Before the context stands the token that
 * begins a text, where the tokenizer has one.
 */
export class ContinuationReader implements Disposable {
  readonly #model: LanguageModel;
  readonly #tokenizer: Tokenizer;
  /** What was read last, all but its last token, and the state after it. */
  #read: { readonly tokens: Int32Array; readonly state: ModelState } | null = null;

  constructor(model: LanguageModel, tokenizer: Tokenizer) {
    this.#model = model;
    this.#tokenizer = tokenizer;
  }

  /** @throws RangeError when there is nothing before the continuation, or nothing in it. */
  async score(context: string, continuation: string): Promise<Continuation> {
    const { before, tokens } = this.#tokensOf(context, continuation);
    if (before.length === 0 || tokens.length === 0) {
      throw new RangeError(
        `continuation: ${before.length} tokens before ${tokens.length} tokens of ${JSON.stringify(continuation)}; ` +
          'both must have one, and the tokenizer has none that begins a text',
      );
    }
    const state = this.#stateAfter(before.subarray(0, -1));
    const inputs = Int32Array.of(before.at(-1)!, ...tokens.subarray(0, -1));
    const { device, config } = this.#model;
    const logits = scope(device, { collect: true }, () => {
      const input = Tensor.from(device, inputs, [1, inputs.length]);
      return this.#model.logits(this.#model.forward(input, { state, wantState: false }).hidden);
    });
    const values = await logits.data();
    logits.dispose();
    await giveWay();
    let [sum, greedy] = [0, true];
    tokens.forEach((token, t) => {
      const row = values.subarray(t * config.vocabSize, (t + 1) * config.vocabSize);
      const { logProbability, isFirst } = judge(row, token);
      sum += logProbability;
      greedy &&= isFirst;
    });
    return { sum, greedy };
  }

  #tokensOf(context: string, continuation: string): { before: Int32Array; tokens: Int32Array } {
    const encode = (text: string): Int32Array => this.#tokenizer.encode(text, { parseSpecial: false });
    const start = context.trimEnd();
    const whole = encode(context + continuation);
    const length = encode(start).length;
    const begin = this.#tokenizer.bosId ?? this.#tokenizer.eosId;
    const before = Int32Array.of(...(begin === null ? [] : [begin]), ...whole.subarray(0, length));
    return { before, tokens: whole.subarray(length) };
  }

  /** The state after tokens, which is kept for the next continuation of the same context. */
  #stateAfter(tokens: Int32Array): ModelState {
    const same =
      this.#read?.tokens.length === tokens.length && tokens.every((token, t) => token === this.#read!.tokens[t]);
    if (same) return this.#read!.state;
    const { device } = this.#model;
    let state = this.#model.initialState(1);
    for (let from = 0; from < tokens.length; from += STRETCH) {
      const part = tokens.subarray(from, from + STRETCH);
      const next = scope(device, { collect: true }, () => ({
        state: this.#model.forward(Tensor.from(device, part, [1, part.length]), { state, outputs: 'last' }).state,
      }));
      state.dispose();
      state = next.state;
    }
    this.#read?.state.dispose();
    this.#read = { tokens, state };
    return state;
  }

  [Symbol.dispose](): void {
    this.#read?.state.dispose();
    this.#read = null;
  }
}

/** log p of a token by the logits of all [V], and whether none is above it. */
function judge(logits: FloatArray, token: number): { logProbability: number; isFirst: boolean } {
  let [top, sum] = [-Infinity, 0];
  for (const logit of logits) top = Math.max(top, logit);
  for (const logit of logits) sum += Math.exp(logit - top);
  return { logProbability: logits[token]! - top - Math.log(sum), isFirst: logits[token] === top };
}

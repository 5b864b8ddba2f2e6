/** @file The logits of given tokens, a stretch at a time, so that those of a long sequence never lie in memory whole. */
import type { FloatArray } from '../device/device.js';
import { giveWay } from '../event-loop.js';
import { modelFingerprint } from '../model/fingerprint.js';
import type { LanguageModel } from '../model/language-model.js';
import { writeSafetensors } from '../model/safetensors.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

/** At most so many tokens, and so many logits, are computed at once (32 MB of float32). */
const STRETCH = 512;
const STRETCH_LOGITS = 1 << 23;

export interface LogitsOptions {
  /** Use the step form, one token after the other, instead of the form over sequences. They agree up to rounding. */
  readonly step?: boolean;
  readonly signal?: AbortSignal;
  /** Told how many tokens were read. */
  readonly onTokens?: (tokens: number) => void;
}

export interface LogitsStretch {
  /** Index of the token that the first row follows. */
  readonly start: number;
  /** Rows of V: [t,V], flat. Row k predicts the token after tokens[start + k]. */
  readonly logits: FloatArray;
}

/**
 * The logits after each token of a sequence, from the state before the first token.
 * @throws the signal's reason when it aborts.
 */
export async function* logitsOf(
  model: LanguageModel,
  tokens: Int32Array,
  options: LogitsOptions = {},
): AsyncGenerator<LogitsStretch> {
  const { device, config } = model;
  const { step = false, signal, onTokens } = options;
  const stretch = step ? 1 : Math.max(1, Math.min(STRETCH, Math.floor(STRETCH_LOGITS / config.vocabSize)));
  let state = model.initialState(1);
  try {
    for (let start = 0; start < tokens.length; start += stretch) {
      signal?.throwIfAborted();
      const part = tokens.subarray(start, start + stretch);
      const result = scope(device, { collect: true }, () => {
        if (step) return model.step(Tensor.from(device, part, [1]), state);
        const { hidden, state: next } = model.forward(Tensor.from(device, part, [1, part.length]), { state });
        return { logits: model.logits(hidden), state: next };
      });
      state.dispose();
      state = result.state;
      const logits = await result.logits.data();
      result.logits.dispose();
      onTokens?.(part.length);
      yield { start, logits };
      await giveWay();
    }
  } finally {
    state.dispose();
  }
}

/**
 * Writes the logits of B sequences of one length as the float32 tensor `logits` [B,T,V] of a safetensors file; the
 * metadata names the model and the form.
 * @throws RangeError when the lengths differ. @throws WriteError when the disk refuses.
 */
export async function writeLogits(
  file: string,
  model: LanguageModel,
  sequences: readonly Int32Array[],
  options: LogitsOptions = {},
): Promise<void> {
  const T = sequences[0]!.length;
  const other = sequences.findIndex(({ length }) => length !== T);
  if (other !== -1) {
    throw new RangeError(
      `logits: sequence 0 has ${T} tokens and sequence ${other} has ${sequences[other]!.length}; ` +
        'a tensor [B,T,V] needs sequences of one length',
    );
  }
  async function* data(): AsyncGenerator<Float32Array<ArrayBuffer>> {
    for (const tokens of sequences) {
      for await (const { logits } of logitsOf(model, tokens, options)) yield float32(logits);
    }
  }
  const shape = [sequences.length, T, model.config.vocabSize];
  const metadata = { model: await modelFingerprint(model), form: options.step === true ? 'step' : 'sequence' };
  await writeSafetensors(file, [{ name: 'logits', dtype: 'F32', shape, data }], metadata);
}

const float32 = (values: FloatArray): Float32Array<ArrayBuffer> =>
  values instanceof Float32Array ? (values as Float32Array<ArrayBuffer>) : Float32Array.from(values);

/** The k most probable tokens, most probable first; ties in the order of their numbers. @param logits  [V] */
export function topTokens(logits: FloatArray, k: number): { token: number; logit: number }[] {
  const top: { token: number; logit: number }[] = [];
  for (const [token, logit] of logits.entries()) {
    if (top.length === k && !(logit > top.at(-1)!.logit)) continue;
    const at = top.findIndex((one) => logit > one.logit);
    top.splice(at === -1 ? top.length : at, 0, { token, logit });
    if (top.length > k) top.pop();
  }
  return top;
}

/** @file Text out of a model, as it comes: what samples during training and the Generate view have in common. */
import { decode, TextStream, type LanguageModel, type SamplingOptions, type Tokenizer } from 'xlstm';

export interface TextOptions extends SamplingOptions {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly signal: AbortSignal;
  readonly onText: (text: string) => void;
}

/**
 * Continues a prompt as `xlstm generate` does; an empty one begins a new text.
 * @returns tokens that were made
 * @throws RangeError for an option outside of its range, or an empty prompt where no token begins a text.
 */
export async function continueText(model: LanguageModel, tokenizer: Tokenizer, options: TextOptions): Promise<number> {
  const { prompt, onText, ...sampling } = options;
  const { eosId } = tokenizer;
  const encoded = tokenizer.encode(prompt, { addSpecial: true });
  if (encoded.length === 0 && eosId === null)
    throw new RangeError('Give a prompt: this tokenizer has no token that begins a text.');
  const tokens = encoded.length === 0 ? Int32Array.of(eosId!) : encoded;
  const stopTokens = eosId === null ? [] : [eosId];
  const stream = new TextStream(tokenizer, { prompt: tokens });
  let count = 0;
  for await (const token of decode(model, tokens, { ...sampling, vocabSize: tokenizer.vocabSize, stopTokens })) {
    count++;
    const { text } = stream.push(token);
    if (text !== '') onText(text);
  }
  const rest = stream.end();
  if (rest !== '') onText(rest);
  return count;
}

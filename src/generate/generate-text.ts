/**
 * @file Text from a model and a tokenizer, streamed; in a page as in Node. It opens nothing: `TextModel` is a folder that
 * does, and adds what generation_config.json says.
 */
import type { LanguageModel } from '../model/language-model.js';
import type { SavedState } from '../model/state-file.js';
import type { Tokenizer } from '../tokens/tokenizer.js';
import { decode, type DecodeOptions } from './decode.js';
import { TextStream } from './text-stream.js';

export interface GenerateOptions extends DecodeOptions {
  /** Texts that end the generation; they are not given out, nor the beginning of one. */
  readonly stop?: readonly string[];
  /** Told of each token, before its text is certain. */
  readonly onToken?: (token: number) => void;
}

/**
 * Continues a prompt; yields text as it becomes certain, never half a character. Ends at one of `stopTokens` (default: the
 * end-of-text token), after `maxTokens`, or when `signal` aborts. An empty prompt begins a new document, or goes on from
 * `state`. Only tokens that the tokenizer has are chosen.
 * @throws RangeError when an option is outside of its range, or the prompt is empty and there is no end-of-text token.
 */
export async function* generateText(
  model: LanguageModel,
  tokenizer: Tokenizer,
  prompt: string,
  options: GenerateOptions = {},
): AsyncGenerator<string, void, undefined> {
  const { stop = [], onToken, stopTokens = endTokens(tokenizer), ...decoding } = options;
  const tokens = promptTokens(tokenizer, prompt, options.state);
  const stream = new TextStream(tokenizer, { stop, prompt: tokens });
  for await (const token of decode(model, tokens, { vocabSize: tokenizer.vocabSize, ...decoding, stopTokens })) {
    onToken?.(token);
    const { text, stopped } = stream.push(token);
    if (text !== '') yield text;
    if (stopped) return;
  }
  const rest = stream.end();
  if (rest !== '') yield rest;
}

/** Tokens that end a text where nobody says otherwise. */
export const endTokens = ({ eosId }: Tokenizer): readonly number[] => (eosId === null ? [] : [eosId]);

/**
 * The tokens of a prompt, behind what the tokenizer puts before a text; of an empty one the token that begins a document.
 * @param state  what comes before the prompt, if anything does
 * @throws RangeError when the prompt is empty and there is no such token.
 */
export function promptTokens(tokenizer: Tokenizer, prompt: string, state?: SavedState): Int32Array {
  const tokens = tokenizer.encode(prompt, { addSpecial: state === undefined });
  if (tokens.length > 0 || state?.logits) return tokens;
  if (tokenizer.eosId !== null) return Int32Array.of(tokenizer.eosId);
  throw new RangeError('generate: this tokenizer has no end-of-text token to begin with; give a prompt');
}

/**
 * @file Generated tokens as text that can be given out at once: never half a character, never part of a stop string.
 * It does not decide how long a text becomes otherwise.
 */
import type { StreamDecoder, Tokenizer } from '../tokens/tokenizer.js';
import { StopStrings } from './stop-strings.js';

export interface TextStreamOptions {
  /** Texts that end the stream; they are not given out. */
  readonly stop?: readonly string[];
  /** Tokens that end the stream; their text is not given out. */
  readonly stopTokens?: readonly number[];
  /**
   * The tokens that the text continues. Some tokenizers write a token differently at the beginning of a text, without
   * its leading space for example. Default: none, the text is a text of its own.
   */
  readonly prompt?: ArrayLike<number>;
  /** Leave special tokens out of the text. Default true. */
  readonly skipSpecial?: boolean;
}

export interface StreamedText {
  /** The text that is certain now: it neither changes nor belongs to a stop string. Maybe ''. */
  readonly text: string;
  /** The stream has ended by a stop string or token; all text has been given out. */
  readonly stopped: boolean;
}

/** A character may be spread over this many tokens of the prompt, as one of four bytes. */
const CONTEXT = 8;

/**
 * The texts, joined, are the text of all tokens, cut before the stop string that is complete first (the longest of those
 * that end together). How the text is cut into tokens makes no difference.
 */
export class TextStream {
  readonly #decoder: StreamDecoder;
  readonly #stop: StopStrings;
  readonly #stopTokens: ReadonlySet<number>;
  #stopped = false;
  #ended = false;

  /** @throws RangeError for a stop string that is empty or holds half of a surrogate pair. */
  constructor(tokenizer: Tokenizer, options: TextStreamOptions = {}) {
    const { stop = [], stopTokens = [], prompt = [], skipSpecial = true } = options;
    this.#decoder = tokenizer.decoder({ skipSpecial });
    this.#stop = new StopStrings(stop);
    this.#stopTokens = new Set(stopTokens);
    for (let k = Math.max(prompt.length - CONTEXT, 0); k < prompt.length; k++) this.#decoder.push(prompt[k]!);
  }

  /** Whether a stop string or token has ended it. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** @throws Error when the stream was ended by `end`. */
  push(token: number): StreamedText {
    if (this.#stopped) return { text: '', stopped: true };
    if (this.#ended) throw new Error('TextStream: push after end; begin another stream');
    if (!this.#stopTokens.has(token)) return this.#pass(this.#decoder.push(token));
    const text = this.end();
    this.#stopped = true;
    return { text, stopped: true };
  }

  /** The text that was held back; the stream has ended. What never became a character comes as U+FFFD. */
  end(): string {
    if (this.#ended || this.#stopped) return '';
    this.#ended = true;
    const { text, stopped } = this.#pass(this.#decoder.end());
    return stopped ? text : text + this.#stop.rest();
  }

  #pass(fresh: string): StreamedText {
    const result = this.#stop.push(fresh);
    this.#stopped = result.stopped;
    return result;
  }
}

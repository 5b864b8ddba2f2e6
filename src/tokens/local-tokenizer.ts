/**
 * @file What the tokenizers written here share: added tokens, normalisation, special tokens, decoding, fingerprint and
 * files. How a stretch of ordinary text becomes ids is left to `bytes.ts`, `chars.ts` and `bpe.ts`.
 */
import { AddedTokens } from './added-tokens.js';
import { IdBuffer } from './id-buffer.js';
import type { DecodeOptions, EncodeOptions, StreamDecoder, Tokenizer, TokenizerFiles } from './tokenizer.js';
import { fingerprintOf, specialIds, type TokenizerConfig, type TokenizerJson } from './tokenizer-json.js';
import { Vocabulary } from './vocabulary.js';

export interface EncodedFrom {
  readonly text: string;
  readonly start: number;
}

export interface LocalTokenizerParts {
  readonly json: TokenizerJson;
  readonly config: TokenizerConfig | null;
  /** Bytes of each token of the model; added tokens come from `json`. */
  readonly tokenBytes: readonly (Uint8Array | undefined)[];
  readonly normalize?: (text: string) => string;
  /** Ids that `addSpecial` puts before and after the text. */
  readonly before?: readonly number[];
  readonly after?: readonly number[];
}

export abstract class LocalTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  readonly #parts: LocalTokenizerParts;
  readonly #added: AddedTokens;
  readonly #vocabulary: Vocabulary;
  #fingerprint: string | null = null;

  protected constructor(parts: LocalTokenizerParts) {
    this.#parts = parts;
    this.#vocabulary = new Vocabulary(parts.tokenBytes, parts.json.added_tokens);
    this.vocabSize = this.#vocabulary.size;
    ({ bosId: this.bosId, eosId: this.eosId, padId: this.padId } = specialIds(parts.json, parts.config));
    this.#added = new AddedTokens(parts.json.added_tokens, parts.normalize ?? ((text) => text));
  }

  encode(text: string, options: EncodeOptions = {}): Int32Array {
    const { before = [], after = [] } = options.addSpecial === true ? this.#parts : {};
    const out = new IdBuffer(Math.ceil(text.length / 2));
    out.pushAll(before);
    const onText = (stretch: string, start: number): void => this.encodeText(stretch, out, { text, start });
    this.#added.split(text, options.parseSpecial ?? true, onText, (id) => out.push(id));
    out.pushAll(after);
    return out.take();
  }

  /**
   * Appends the ids of normalised text without added tokens.
   * @param stretch  the text.
   * @param from     the whole text that is being encoded and where in it the stretch begins, for errors.
   */
  protected abstract encodeText(stretch: string, out: IdBuffer, from: EncodedFrom): void;

  decode(ids: ArrayLike<number>, options?: DecodeOptions): string {
    return this.#vocabulary.decode(ids, options);
  }

  decoder(options?: DecodeOptions): StreamDecoder {
    return this.#vocabulary.decoder(options);
  }

  tokenBytes(id: number): Uint8Array | null {
    return this.#vocabulary.tokenBytes(id);
  }

  fingerprint(): string {
    return (this.#fingerprint ??= fingerprintOf(this.#parts.json));
  }

  files(): TokenizerFiles {
    const { json, config } = this.#parts;
    return {
      'tokenizer.json': JSON.stringify(json, null, 2),
      'tokenizer_config.json': JSON.stringify(config ?? configOf(this), null, 2),
    };
  }
}

/** A tokenizer_config.json for a tokenizer that came without one. */
function configOf(tokenizer: LocalTokenizer): TokenizerConfig {
  const name = (id: number | null): string | null => (id === null ? null : tokenizer.decode([id]));
  return tokenizerConfig(name(tokenizer.bosId), name(tokenizer.eosId), name(tokenizer.padId));
}

/** The fields of tokenizer_config.json that others need: which special token is which, and no clean-up of spaces. */
export function tokenizerConfig(bos: string | null, eos: string | null, pad: string | null): TokenizerConfig {
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: bos,
    eos_token: eos,
    pad_token: pad,
    clean_up_tokenization_spaces: false,
  };
}

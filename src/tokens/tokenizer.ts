/**
 * @file What a tokenizer is: text to token ids and back. It holds no implementation; `load.ts` opens one from disk,
 * `bytes.ts`, `chars.ts` and `bpe-train.ts` make new ones.
 */

export interface EncodeOptions {
  /** Add what the file's post-processor adds (a beginning-of-text token, for example). Default false. */
  readonly addSpecial?: boolean;
  /**
   * Read the text of a special token ("<|endoftext|>") as that token. Default true, as in other libraries.
   * With false it is spelled out like any other text: right for documents, which must not end themselves.
   */
  readonly parseSpecial?: boolean;
}

export interface DecodeOptions {
  /** Leave special tokens out. Default false. */
  readonly skipSpecial?: boolean;
}

/** Decodes a stream of ids. What `push` and `end` return, joined, is what `decode` gives for all ids at once. */
export interface StreamDecoder {
  /** The text that is certain after this id: maybe '', never half a character. */
  push(id: number): string;
  /** The rest; bytes that never became a character come as U+FFFD. The decoder can then be used again. */
  end(): string;
}

/** The files of a tokenizer by name, as text. */
export interface TokenizerFiles {
  readonly 'tokenizer.json': string;
  readonly 'tokenizer_config.json': string;
}

export interface Tokenizer {
  /** One more than the largest id. */
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  /**
   * The ids of a text. No special tokens are added unless asked for.
   * @throws UnknownCharacterError from a character tokenizer that has never seen a character of the text.
   */
  encode(text: string, options?: EncodeOptions): Int32Array;
  /** @throws RangeError on an id that the vocabulary does not have. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  decoder(options?: DecodeOptions): StreamDecoder;
  /** The bytes that a token stands for; null where a token is not a fixed run of bytes. */
  tokenBytes(id: number): Uint8Array | null;
  /**
   * SHA-256 (hex) of the canonical tokenizer.json: two tokenizers that share it encode alike, whatever the layout of
   * their files. A model keeps it, to refuse a tokenizer that does not match.
   */
  fingerprint(): string;
  /** The texts of tokenizer.json and tokenizer_config.json; `saveTokenizer` writes them. */
  files(): TokenizerFiles;
}

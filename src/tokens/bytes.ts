/** @file The byte tokenizer: ids 0 to 255 are the bytes of UTF-8, id 256 is the end-of-text token. No training needed. */
import { BYTE_TO_CHARACTER } from './byte-alphabet.js';
import type { IdBuffer } from './id-buffer.js';
import { LocalTokenizer, tokenizerConfig } from './local-tokenizer.js';
import type { TokenizerConfig, TokenizerJson } from './tokenizer-json.js';

export const END_OF_TEXT = '<|endoftext|>';

/** An added token as this project writes it: taken out of the text as it stands, left out by `skipSpecial`. */
export const specialToken = (id: number, content: string) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

export class ByteTokenizer extends LocalTokenizer {
  /** With no arguments: the byte tokenizer. With the two files of one: that one, see `load.ts`. */
  constructor(json: TokenizerJson = byteTokenizerJson(), config: TokenizerConfig | null = BYTE_CONFIG) {
    super({ json, config, tokenBytes: Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)) });
  }

  protected override encodeText(text: string, out: IdBuffer): void {
    out.pushAll(new TextEncoder().encode(text));
  }
}

const BYTE_CONFIG = tokenizerConfig(END_OF_TEXT, END_OF_TEXT, null);

/** Byte-level BPE whose tokens are the 256 bytes, in their order, and that merges nothing. */
function byteTokenizerJson(): TokenizerJson {
  const vocab = Object.fromEntries([...BYTE_TO_CHARACTER, END_OF_TEXT].map((token, id) => [token, id]));
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [specialToken(256, END_OF_TEXT)],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    model: { type: 'BPE', ...BPE_DEFAULTS, vocab, merges: [] },
  };
}

/** Model options that other libraries expect to find. */
export const BPE_DEFAULTS = {
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  ignore_merges: false,
};

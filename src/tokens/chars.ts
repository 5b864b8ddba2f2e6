/**
 * @file The character tokenizer: one id per code point that the training text has, in the order of code points, as in
 * nanoGPT's shakespeare_char. It has no token for a character it has not seen: such text is refused.
 */
import { BPE_DEFAULTS, END_OF_TEXT, specialToken } from './bytes.js';
import type { IdBuffer } from './id-buffer.js';
import { type EncodedFrom, LocalTokenizer, tokenizerConfig } from './local-tokenizer.js';
import type { TokenizerConfig, TokenizerJson } from './tokenizer-json.js';

/** Text has a character that the vocabulary lacks. */
export class UnknownCharacterError extends Error {
  override readonly name = 'UnknownCharacterError';
  readonly character: string;
  /** Where it is, in UTF-16 units of the text that was encoded. */
  readonly index: number;

  constructor(text: string, index: number, vocabSize: number) {
    const character = String.fromCodePoint(text.codePointAt(index)!);
    const code = `U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}`;
    const lines = text.slice(0, index).split('\n');
    const place = `line ${lines.length}, column ${[...lines.at(-1)!].length + 1}`;
    super(
      `encode: the character ${JSON.stringify(character)} (${code}) at ${place} is not among the ${vocabSize} tokens of ` +
        `this character tokenizer; remove it, or train with bytes or BPE, which know every character`,
    );
    this.character = character;
    this.index = index;
  }
}

export class CharTokenizer extends LocalTokenizer {
  readonly #ids: ReadonlyMap<string, number>;

  /** From the files of a character tokenizer (see `load.ts`); `charTokenizer` makes a new one. */
  constructor(json: TokenizerJson, config: TokenizerConfig | null) {
    const added = new Set(json.added_tokens.map((token) => token.content));
    const entries = Object.entries(json.model.vocab as Record<string, number>).filter(([token]) => !added.has(token));
    const tokenBytes: Uint8Array[] = [];
    for (const [character, id] of entries) tokenBytes[id] = new TextEncoder().encode(character);
    super({ json, config, tokenBytes });
    this.#ids = new Map(entries);
  }

  protected override encodeText(stretch: string, out: IdBuffer, from: EncodedFrom): void {
    let index = from.start;
    for (const character of stretch) {
      const id = this.#ids.get(character);
      if (id === undefined) throw new UnknownCharacterError(from.text, index, this.vocabSize);
      out.push(id);
      index += character.length;
    }
  }
}

/**
 * The character tokenizer of a text.
 * @param texts           the training text, whole or in pieces.
 * @param options.endOfText  add an end-of-text token after the characters. Default false, as in nanoGPT.
 * @throws RangeError if there is no text, or if it holds half of a surrogate pair.
 */
export async function charTokenizer(
  texts: string | Iterable<string> | AsyncIterable<string>,
  options: { readonly endOfText?: boolean } = {},
): Promise<CharTokenizer> {
  const seen = new Set<number>();
  for await (const text of typeof texts === 'string' ? [texts] : texts) {
    for (const character of text) seen.add(character.codePointAt(0)!);
  }
  const points = [...seen].sort((a, b) => a - b);
  if (points.length === 0)
    throw new RangeError('charTokenizer: the text is empty, so there are no characters; give the training text');
  const half = points.find((point) => point >= 0xd800 && point <= 0xdfff);
  if (half !== undefined) {
    throw new RangeError(
      `charTokenizer: the text holds half of a surrogate pair (U+${half.toString(16).toUpperCase()}), which no file can hold; clean it with text.toWellFormed()`,
    );
  }
  const endOfText = options.endOfText === true;
  const tokens = points.map((point) => String.fromCodePoint(point));
  return new CharTokenizer(
    charTokenizerJson(tokens, endOfText),
    tokenizerConfig(endOfText ? END_OF_TEXT : null, endOfText ? END_OF_TEXT : null, null),
  );
}

/** BPE without merges over characters: other libraries encode known text alike, and skip characters not in it. */
function charTokenizerJson(characters: readonly string[], endOfText: boolean): TokenizerJson {
  const tokens = endOfText ? [...characters, END_OF_TEXT] : characters;
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: endOfText ? [specialToken(characters.length, END_OF_TEXT)] : [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: 'Fuse' },
    model: {
      type: 'BPE',
      ...BPE_DEFAULTS,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [],
    },
  };
}

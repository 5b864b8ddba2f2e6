/**
 * @file Every other tokenizer.json (WordPiece, Unigram, SentencePiece-style BPE, other patterns), encoded by the
 * `@huggingface/tokenizers` library: slower than ours, but it knows them.
 */
import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import type { DecodeOptions, EncodeOptions, StreamDecoder, Tokenizer, TokenizerFiles } from './tokenizer.js';
import { fingerprintOf, specialIds, type TokenizerConfig, type TokenizerJson } from './tokenizer-json.js';

/** What is used of the library; its own type files do not resolve under `nodenext`. */
interface Library {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean }): string;
  get_vocab(): Map<string, number>;
}
const Library = LibraryTokenizer as unknown as new (json: TokenizerJson, config: TokenizerConfig) => Library;

export class HfTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  readonly #json: TokenizerJson;
  readonly #config: TokenizerConfig;
  readonly #library: Library;
  /** The same without special tokens, for text in which they are only text; made when first needed. */
  #plain: Library | null = null;
  readonly #known: ReadonlySet<number>;

  /** @throws Error naming the file if the library does not know one of its parts. */
  constructor(json: TokenizerJson, config: TokenizerConfig | null, name: string) {
    this.#json = json;
    // Cleaning up spaces would make decode(encode(text)) differ from the text, so it is done only where a file asks.
    this.#config = { clean_up_tokenization_spaces: false, ...config };
    try {
      this.#library = new Library(json, this.#config);
    } catch (error) {
      throw new Error(`${name}: this kind of tokenizer is not supported: ${(error as Error).message}`, {
        cause: error,
      });
    }
    this.#known = new Set(this.#library.get_vocab().values());
    this.vocabSize = [...this.#known].reduce((largest, id) => Math.max(largest, id), -1) + 1;
    ({ bosId: this.bosId, eosId: this.eosId, padId: this.padId } = specialIds(json, config));
  }

  encode(text: string, options: EncodeOptions = {}): Int32Array {
    const library = options.parseSpecial === false ? (this.#plain ??= this.#withoutSpecial()) : this.#library;
    return Int32Array.from(library.encode(text, { add_special_tokens: options.addSpecial === true }).ids);
  }

  #withoutSpecial(): Library {
    return new Library(
      { ...this.#json, added_tokens: this.#json.added_tokens.filter((token) => !token.special) },
      this.#config,
    );
  }

  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const list = Array.from(ids);
    const stranger = list.find((id) => !this.#known.has(id));
    if (stranger !== undefined) {
      throw new RangeError(
        `decode: there is no token ${stranger}; ids of this tokenizer go from 0 to ${this.vocabSize - 1}`,
      );
    }
    return list.length === 0 ? '' : this.#library.decode(list, { skip_special_tokens: options.skipSpecial === true });
  }

  decoder(options: DecodeOptions = {}): StreamDecoder {
    // What an id adds is what the text of a window gains by it: a decoder may treat the first token differently.
    let window: number[] = [];
    let shown = '';
    const push = (id: number): string => {
      window.push(id);
      const text = this.decode(window, options);
      // U+FFFD at the end: maybe half a character, so wait for the rest of it.
      if (text.length <= shown.length || text.endsWith('\ufffd')) return '';
      const fresh = text.slice(shown.length);
      window = [id];
      shown = this.decode(window, options);
      return fresh;
    };
    const end = (): string => {
      const rest = this.decode(window, options).slice(shown.length);
      window = [];
      shown = '';
      return rest;
    };
    return { push, end };
  }

  tokenBytes(): null {
    return null;
  }

  fingerprint(): string {
    return fingerprintOf(this.#json);
  }

  files(): TokenizerFiles {
    return {
      'tokenizer.json': JSON.stringify(this.#json, null, 2),
      'tokenizer_config.json': JSON.stringify(this.#config, null, 2),
    };
  }
}

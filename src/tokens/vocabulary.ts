/**
 * @file The bytes of each token, and decoding from them, all at once or as a stream. It does not encode.
 */
import type { DecodeOptions, StreamDecoder } from './tokenizer.js';

/** What ends a run of bytes: a token that is text of its own, outside the byte stream. */
export interface ExtraToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

export class Vocabulary {
  /** One more than the largest id. */
  readonly size: number;
  readonly #bytes: readonly (Uint8Array | undefined)[];
  readonly #extra: ReadonlyMap<number, ExtraToken>;

  /**
   * @param bytes  the bytes of each id; holes are ids without a token.
   * @param extra  added tokens, special or not; they win over `bytes`.
   */
  constructor(bytes: readonly (Uint8Array | undefined)[], extra: readonly ExtraToken[]) {
    this.#bytes = bytes;
    this.#extra = new Map(extra.map((token) => [token.id, token]));
    this.size = extra.reduce((size, token) => Math.max(size, token.id + 1), bytes.length);
  }

  /** The bytes of a token; null for an id inside the vocabulary that has none. @throws RangeError outside of it. */
  tokenBytes(id: number): Uint8Array | null {
    if (!(Number.isInteger(id) && id >= 0 && id < this.size)) {
      throw new RangeError(`decode: there is no token ${id}; ids of this tokenizer go from 0 to ${this.size - 1}`);
    }
    const extra = this.#extra.get(id);
    return extra ? new TextEncoder().encode(extra.content) : (this.#bytes[id] ?? null);
  }

  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
    let run = new Uint8Array(4 * ids.length + 64);
    let length = 0;
    let text = '';
    for (let k = 0; k < ids.length; k++) {
      const id = ids[k]!;
      const extra = this.#extra.get(id);
      if (extra === undefined) {
        const bytes = this.tokenBytes(id) ?? NOTHING;
        if (length + bytes.length > run.length) run = enlarged(run, length + bytes.length);
        run.set(bytes, length);
        length += bytes.length;
      } else if (!(extra.special && options.skipSpecial === true)) {
        text += utf8.decode(run.subarray(0, length)) + extra.content;
        length = 0;
      }
    }
    return text + utf8.decode(run.subarray(0, length));
  }

  decoder(options: DecodeOptions = {}): StreamDecoder {
    // Without ignoreBOM a U+FEFF at the start would vanish.
    const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
    const push = (id: number): string => {
      const extra = this.#extra.get(id);
      if (extra === undefined) {
        const bytes = this.tokenBytes(id);
        return bytes === null ? '' : utf8.decode(bytes, { stream: true });
      }
      if (extra.special && options.skipSpecial === true) return '';
      return utf8.decode() + extra.content;
    };
    return { push, end: () => utf8.decode() };
  }
}

const NOTHING = new Uint8Array(0);

function enlarged(bytes: Uint8Array, needed: number): Uint8Array<ArrayBuffer> {
  const more = new Uint8Array(2 * needed);
  more.set(bytes);
  return more;
}

/** @file Strict UTF-8: bytes in pieces become text, and the first byte that is not UTF-8 is found, not replaced. */
import { isUtf8 } from 'node:buffer';

const BOM = [0xef, 0xbb, 0xbf] as const;

export class StrictUtf8 {
  /** Bytes of a character whose rest is in the next piece. */
  #held: Uint8Array = new Uint8Array(0);
  /** Bytes decoded so far. */
  #offset = 0;
  readonly #refuse: (offset: number, byte: number, before: Uint8Array) => Error;

  /**
   * @param refuse  makes the error for the byte at `offset` (from the start of all pieces) that cannot stand there;
   *   `before` is the piece up to it.
   */
  constructor(refuse: (offset: number, byte: number, before: Uint8Array) => Error) {
    this.#refuse = refuse;
  }

  /** The text of the characters that are complete with this piece. A BOM at the very start is left out. */
  push(piece: Uint8Array): string {
    const bytes = this.#held.length === 0 ? piece : Buffer.concat([this.#held, piece]);
    const whole = this.#offset === 0 && bytes.length < BOM.length ? 0 : bytes.length - unfinished(bytes);
    const text = this.#decode(bytes.subarray(0, whole));
    this.#held = Uint8Array.from(bytes.subarray(whole));
    return text;
  }

  /** The rest. @throws what `refuse` makes if the text ends inside a character. */
  end(): string {
    const held = this.#held;
    this.#held = new Uint8Array(0);
    return this.#decode(held);
  }

  #decode(bytes: Uint8Array): string {
    if (!isUtf8(bytes)) {
      const bad = firstInvalid(bytes);
      throw this.#refuse(this.#offset + bad, bytes[bad]!, bytes.subarray(0, bad));
    }
    const skip = this.#offset === 0 && BOM.every((byte, k) => bytes[k] === byte) ? BOM.length : 0;
    this.#offset += bytes.length;
    return Buffer.from(bytes.buffer, bytes.byteOffset + skip, bytes.length - skip).toString('utf8');
  }
}

/** How many bytes at the end may be the start of a character that goes on (0 to 3). */
function unfinished(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back]!;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return back < sequenceLength(byte) ? back : 0;
  }
  return 0;
}

function sequenceLength(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

/** Index of the first byte that cannot stand where it does (Unicode Standard, table 3-7); -1 in valid UTF-8. */
export function firstInvalid(bytes: Uint8Array): number {
  for (let k = 0; k < bytes.length;) {
    const lead = bytes[k]!;
    const length = sequenceLength(lead);
    if (length === 0 || k + length > bytes.length) return k;
    for (let n = 1; n < length; n++) {
      // The first continuation byte is bounded further: no overlong forms, no surrogates, nothing beyond U+10FFFF.
      const low = n > 1 ? 0x80 : lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
      const high = n > 1 ? 0xbf : lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
      const byte = bytes[k + n]!;
      if (byte < low || byte > high) return k;
    }
    k += length;
  }
  return -1;
}

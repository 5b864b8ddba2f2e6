/**
 * @file The byte-level alphabet of GPT-2: one printable character for each of the 256 bytes, in which byte-level
 * tokenizer.json files write their tokens. It is a spelling, not an encoding of text.
 */

/** Bytes that stand for themselves: printable ASCII and Latin-1 without the soft hyphen. */
const isPrintable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

/** Character of each byte; the others take U+0100, U+0101, ... in order. */
export const BYTE_TO_CHARACTER: readonly string[] = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
})();

const CHARACTER_TO_BYTE = new Map(BYTE_TO_CHARACTER.map((character, byte) => [character, byte]));

/** The token's spelling in the alphabet. */
export function spellBytes(bytes: Uint8Array): string {
  let out = '';
  for (const byte of bytes) out += BYTE_TO_CHARACTER[byte]!;
  return out;
}

/** The bytes of a spelling; null if a character is not in the alphabet. */
export function unspellBytes(token: string): Uint8Array | null {
  const bytes = new Uint8Array(token.length);
  for (let k = 0; k < token.length; k++) {
    const byte = CHARACTER_TO_BYTE.get(token[k]!);
    if (byte === undefined) return null;
    bytes[k] = byte;
  }
  return bytes;
}

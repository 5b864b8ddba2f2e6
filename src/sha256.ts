/**
 * @file SHA-256 (FIPS 180-4) in plain TypeScript, in pieces and at once: a page has only an asynchronous one, of a whole
 * message and in secure contexts alone. For fingerprints, not for passwords; large files go through Node's.
 */

/** The first 32 bits of the fractional part of `root`. */
const fraction = (root: number): number => Math.floor((root % 1) * 2 ** 32) | 0;

const PRIMES = Array.from({ length: 312 }, (_, n) => n).filter((n) => {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return n > 1;
});
/** Round constants: cube roots of the first 64 primes (sec. 4.2.2). */
const K = Int32Array.from(PRIMES.slice(0, 64), (prime) => fraction(Math.cbrt(prime)));
/** Initial hash: square roots of the first 8 primes (sec. 5.3.3). */
const INITIAL = Int32Array.from(PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));

const BLOCK = 64;
const rotate = (x: number, count: number): number => (x >>> count) | (x << (32 - count));

export class Sha256 {
  readonly #hash = INITIAL.slice();
  /** The block that is being filled. */
  readonly #block = new Uint8Array(BLOCK);
  readonly #view = new DataView(this.#block.buffer);
  readonly #schedule = new Int32Array(64);
  /** Bytes of the message so far. */
  #length = 0;

  /** Appends to the message; a string as UTF-8. */
  update(message: Uint8Array | string): this {
    const bytes = typeof message === 'string' ? new TextEncoder().encode(message) : message;
    for (let at = 0; at < bytes.length;) {
      const filled = this.#length % BLOCK;
      const part = bytes.subarray(at, at + BLOCK - filled);
      this.#block.set(part, filled);
      at += part.length;
      this.#length += part.length;
      if (this.#length % BLOCK === 0) this.#compress();
    }
    return this;
  }

  /** The digest in hexadecimal digits. The message is finished: nothing can be appended. */
  hex(): string {
    const bits = 8 * this.#length;
    this.update(Uint8Array.of(0x80));
    if (this.#length % BLOCK > BLOCK - 8) this.update(new Uint8Array(BLOCK - (this.#length % BLOCK)));
    this.update(new Uint8Array(BLOCK - 8 - (this.#length % BLOCK)));
    const length = new DataView(new ArrayBuffer(8));
    length.setUint32(0, Math.floor(bits / 2 ** 32));
    length.setUint32(4, bits);
    this.update(new Uint8Array(length.buffer));
    return Array.from(this.#hash, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
  }

  /** One block into the hash (sec. 6.2.2). */
  #compress(): void {
    const w = this.#schedule;
    for (let t = 0; t < 16; t++) w[t] = this.#view.getInt32(4 * t);
    for (let t = 16; t < 64; t++) {
      const [x, y] = [w[t - 15]!, w[t - 2]!];
      const sigma0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3);
      const sigma1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10);
      w[t] = sigma1 + w[t - 7]! + sigma0 + w[t - 16]!;
    }
    const H = this.#hash;
    let [a, b, c, d, e, f, g, h] = H as unknown as [number, number, number, number, number, number, number, number];
    for (let t = 0; t < 64; t++) {
      const sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
      const t1 = (h + sum1 + ((e & f) ^ (~e & g)) + K[t]! + w[t]!) | 0;
      const sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
      const t2 = (sum0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((value, k) => (H[k] = H[k]! + value));
  }
}

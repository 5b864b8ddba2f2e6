/** @file A blob piece by piece, so that a large one need not be in memory; not every browser iterates over its stream. */

const CHUNK = 4 << 20;

export async function* chunksOf(blob: Blob): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  for (let at = 0; at < blob.size; at += CHUNK) yield new Uint8Array(await blob.slice(at, at + CHUNK).arrayBuffer());
}

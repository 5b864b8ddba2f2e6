/**
 * @file A zip archive of a few files, stored without compression (weights do not shrink), as PKWARE's APPNOTE 6.3 has it.
 * It writes no ZIP64, so an archive has less than 4 GiB.
 */
import type { NamedBlob } from '../protocol.js';
import { chunksOf } from './chunks.js';

const MOST_BYTES = 0xffff_ffff;
const LOCAL = 0x0403_4b50;
const CENTRAL = 0x0201_4b50;
const END = 0x0605_4b50;
/** Version 2.0 is needed to extract; names are UTF-8. */
const VERSION = 20;
/** Made on Unix: some programs read the names of archives from elsewhere as DOS wrote them. It brings the rights rw-r--r--. */
const MADE_BY = (3 << 8) | VERSION;
const RIGHTS = 0o100644 * 2 ** 16;
const UTF8_NAMES = 0x0800;

/** @throws RangeError when the files are too large for it. */
export async function zipOf(files: readonly NamedBlob[], date = new Date()): Promise<Blob> {
  const total = files.reduce((sum, { blob }) => sum + blob.size, 0);
  if (total > MOST_BYTES - (1 << 20))
    throw new RangeError('The model is too large for a .zip file (4 GiB); save it into a folder.');
  const parts: (Uint8Array<ArrayBuffer> | Blob)[] = [];
  const directory: Uint8Array<ArrayBuffer>[] = [];
  let offset = 0;
  let directoryBytes = 0;
  for (const { name, blob } of files) {
    const bytes = new TextEncoder().encode(name);
    const common = [
      ...[short(VERSION), short(UTF8_NAMES), short(0), short(dosTime(date)), short(dosDate(date))],
      ...[long(await crc32(blob)), long(blob.size), long(blob.size), short(bytes.length), short(0)],
    ];
    const header = record([long(LOCAL), ...common]);
    parts.push(header, bytes, blob);
    const place = [short(0), short(0), short(0), long(RIGHTS), long(offset)];
    const entry = record([long(CENTRAL), short(MADE_BY), ...common, ...place]);
    directory.push(entry, bytes);
    offset += header.length + bytes.length + blob.size;
    directoryBytes += entry.length + bytes.length;
  }
  const count = files.length;
  const counts = [short(0), short(0), short(count), short(count)];
  const end = record([long(END), ...counts, long(directoryBytes), long(offset), short(0)]);
  return new Blob([...parts, ...directory, end], { type: 'application/zip' });
}

type Field = readonly [value: number, bytes: number];
const short = (value: number): Field => [value, 2];
const long = (value: number): Field => [value, 4];

/** Numbers one after the other, little-endian. */
function record(fields: readonly Field[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(fields.reduce((sum, [, bytes]) => sum + bytes, 0));
  let at = 0;
  for (const [value, bytes] of fields) for (let k = 0; k < bytes; k++) out[at++] = Math.floor(value / 2 ** (8 * k));
  return out;
}

const dosTime = (date: Date): number => (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
const dosDate = (date: Date): number =>
  ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();

/** Of each byte, by the reversed polynomial 0xedb88320. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let k = 0; k < 8; k++) value = value & 1 ? (value >>> 1) ^ 0xedb8_8320 : value >>> 1;
  return value;
});

async function crc32(blob: Blob): Promise<number> {
  let crc = 0xffff_ffff;
  for await (const chunk of chunksOf(blob)) for (const byte of chunk) crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 0xff]!;
  return (crc ^ 0xffff_ffff) >>> 0;
}

/**
 * @file Grey pixels of a PNG file (ISO/IEC 15948) as the images of the Long Range Arena are: 8 bits, not interlaced, grey or
 * in colour, with or without alpha. Other kinds are refused; it writes none.
 */
import { inflateSync } from 'node:zlib';

export interface GreyImage {
  readonly width: number;
  readonly height: number;
  /** [height * width] 0..255, row by row. */
  readonly pixels: Uint8Array;
}

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
/** Bytes of a pixel by colour type: grey, colour, grey with alpha, colour with alpha. */
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 4: 2, 6: 4 };

/** @param what  the file, for messages. @throws Error when it is damaged or of another kind. */
export function readPng(bytes: Buffer, what: string): GreyImage {
  const refuse = (why: string): Error => new Error(`png: ${what} ${why}`);
  if (!bytes.subarray(0, 8).equals(SIGNATURE)) throw refuse('is not a PNG file');
  let header: Buffer | null = null;
  const data: Buffer[] = [];
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = bytes.readUInt32BE(at);
    const content = bytes.subarray(at + 8, at + 8 + length);
    const type = bytes.toString('latin1', at + 4, at + 8);
    if (type === 'IHDR') header = content;
    if (type === 'IDAT') data.push(content);
    at += 12 + length;
  }
  if (header === null || header.length < 13) throw refuse('has no header');
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const channels = CHANNELS[header[9]!];
  if (header[8] !== 8 || channels === undefined || header[12] !== 0) {
    throw refuse(
      `has ${header[8]} bits, colour type ${header[9]}, interlace ${header[12]}; it must have 8 bits a channel, no palette, no interlace`,
    );
  }
  const rows = inflateSync(Buffer.concat(data));
  if (rows.length !== height * (1 + width * channels)) throw refuse('does not hold as many pixels as it says');
  return { width, height, pixels: toGrey(undoFilters(rows, width * channels, channels, refuse), channels) };
}

/** Each row says how it was predicted from its neighbours: left, above, and above left. Returns the bytes of all rows. */
function undoFilters(rows: Buffer, rowBytes: number, channels: number, refuse: (why: string) => Error): Uint8Array {
  const height = rows.length / (1 + rowBytes);
  const out = new Uint8Array(height * rowBytes);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (1 + rowBytes)]!;
    const predict = PREDICTORS[filter];
    if (predict === undefined) throw refuse(`has an unknown filter ${filter}`);
    for (let x = 0; x < rowBytes; x++) {
      const at = y * rowBytes + x;
      const left = x < channels ? 0 : out[at - channels]!;
      const above = y === 0 ? 0 : out[at - rowBytes]!;
      const corner = x < channels || y === 0 ? 0 : out[at - rowBytes - channels]!;
      out[at] = rows[y * (1 + rowBytes) + 1 + x]! + predict(left, above, corner);
    }
  }
  return out;
}

/** Filters 0 to 4 of section 9.2: none, sub, up, average, Paeth. */
const PREDICTORS: readonly ((left: number, above: number, corner: number) => number)[] = [
  () => 0,
  (left) => left,
  (_left, above) => above,
  (left, above) => Math.floor((left + above) / 2),
  (left, above, corner) => {
    const [a, b, c] = [left, above, corner].map((value) => Math.abs(left + above - corner - value)) as [
      number,
      number,
      number,
    ];
    if (a <= b && a <= c) return left;
    return b <= c ? above : corner;
  },
];

/** The luma of BT.601 where there is colour; alpha is left out. */
function toGrey(bytes: Uint8Array, channels: number): Uint8Array {
  return Uint8Array.from({ length: bytes.length / channels }, (_, pixel) => {
    const at = pixel * channels;
    if (channels < 3) return bytes[at]!;
    return Math.round(0.299 * bytes[at]! + 0.587 * bytes[at + 1]! + 0.114 * bytes[at + 2]!);
  });
}

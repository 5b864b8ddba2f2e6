/** @file Grey images as sequences, row by row: as tokens or as numbers, and as text for people. It reads no files. */
import * as z from 'zod';
import type { SequenceInput } from '../../../model/sequence-model.js';
import type { Example } from '../task.js';

export const pixelReading = () =>
  z
    .enum(['tokens', 'numbers'])
    .default('tokens')
    .describe('Each pixel as one of 256 tokens, as in the Long Range Arena, or as a number, as in S4.');

export type PixelReading = z.output<ReturnType<typeof pixelReading>>;

export const pixelInput = (reading: PixelReading): SequenceInput =>
  reading === 'tokens' ? { kind: 'tokens', vocabSize: 256 } : { kind: 'vectors', width: 1 };

/** @param center, spread  numbers are (pixel / 255 - center) / spread */
export function pixelExample(
  pixels: Uint8Array,
  label: number,
  reading: PixelReading,
  [center, spread]: readonly [number, number],
): Example {
  const T = pixels.length;
  if (reading === 'tokens') return { T, tokens: Int32Array.from(pixels), label };
  return { T, vectors: Float32Array.from(pixels, (pixel) => (pixel / 255 - center) / spread), label };
}

const SHADES = ' .:-=+*#%@';

/** Rows of `width` characters, light where the image is light; from brightness 0..1. */
export function drawPixels(brightness: (pixel: number) => number, width: number, height: number): string {
  const rows = Array.from({ length: height }, (_, row) =>
    Array.from({ length: width }, (__, column) => {
      const level = Math.round(255 * brightness(row * width + column));
      const shade = Math.floor((level / 256) * SHADES.length);
      return SHADES[Math.max(0, Math.min(shade, SHADES.length - 1))];
    }).join(''),
  );
  return rows.join('\n');
}

/** Brightness by pixel of an example that `pixelExample` made. */
export const brightnessOf =
  ({ tokens, vectors }: Example, [center, spread]: readonly [number, number]) =>
  (pixel: number): number =>
    tokens === undefined ? vectors![pixel]! * spread + center : tokens[pixel]! / 255;

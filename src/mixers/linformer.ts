/**
 * @file Linformer (arXiv 2006.04768): attention over keys and values that are projected along the length of a document. It
 * needs the whole document, so it is for classification alone: it has no step form and no state.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { countParameters, prefixed } from '../layers/parameter.js';
import { dropout } from '../ops/dropout.js';
import { linformer } from '../ops/linformer.js';
import { positions } from '../ops/positions.js';
import { defineMixer } from './definition.js';
import type { Mixer, MixerPlace } from './mixer.js';

const count = () => z.number().int().min(1);

const linformerOptions = z.strictObject({
  heads: count().default(4).describe('Heads; must divide dim.'),
  rank: count().default(16).describe('Rows that the keys, and the values, of a document are projected onto.'),
  maxLength: count().default(2048).describe('Steps of a document at the most.'),
});

export type LinformerOptions = z.output<typeof linformerOptions>;

export const linformerMixer = defineMixer({
  name: 'linformer',
  summary: 'attention over projected keys and values, not causal (Linformer, arXiv 2006.04768)',
  options: linformerOptions,
  feedForward: 'layer',
  create: createLinformer,
});

/** @throws RangeError when heads do not divide the width. */
function createLinformer({ heads: NH, rank, maxLength }: LinformerOptions, place: MixerPlace): Mixer {
  const { dim: D, bias, inputInit, outputInit } = place;
  if (D % NH !== 0) throw new RangeError(`linformer: heads must divide the width, got ${NH} heads of ${D}`);
  const maps = {
    ...prefixed('q', linearParameters(D, D, inputInit, bias)),
    ...prefixed('k', linearParameters(D, D, inputInit, bias)),
    ...prefixed('v', linearParameters(D, D, inputInit, bias)),
    ...prefixed('out', linearParameters(D, D, outputInit, bias)),
  };
  return {
    kind: 'linformer',
    causal: false,
    // One matrix for keys, values and all heads, and LeCun normal along the length, as in the Long Range Arena.
    parameters: {
      ...maps,
      'projection.weight': { shape: [maxLength, rank], init: { kind: 'normal', std: maxLength ** -0.5 }, decay: true },
    },
    stateSpecs: () => ({}),
    forward(p, x, { reset, key }) {
      const [B, T] = x.shape as [number, number, number];
      if (reset === null && T > maxLength) {
        throw new RangeError(
          `linformer: a document of ${T} steps is longer than maxLength ${maxLength}; set it higher`,
        );
      }
      const [at] = positions(x.device, B, T, { reset });
      const [q, k, v] = [applyLinear(p, 'q', x), applyLinear(p, 'k', x), applyLinear(p, 'v', x)];
      const mixed = linformer({ q, k, v }, p['projection.weight']!, at, NH);
      return [dropout(applyLinear(p, 'out', mixed), place.dropout, key), {}];
    },
    step() {
      throw new RangeError('linformer: it needs the whole document, so it has no step; use forward on all of it');
    },
    // Projections of k and v, logits, and weighted rows: four products with `rank` rows.
    flopsPerToken: () => 2 * countParameters(maps) + 8 * D * rank,
  };
}

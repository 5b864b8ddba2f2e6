/**
 * @file Linear attention (Katharopoulos et al. 2020, arXiv 2006.16236): attention whose similarity is a product of features
 * elu(x) + 1, so that the past is one matrix. Causal, or over whole documents as in Long Range Arena. No decay.
 */
import * as z from 'zod';
import { applyLinear, linearParameters } from '../layers/linear.js';
import { countParameters, prefixed, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import { dropout } from '../ops/dropout.js';
import { activate } from '../ops/elementwise.js';
import { linearAttention } from '../ops/linear-attention.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineMixer } from './definition.js';
import { memoryFlops, memorySizes, memoryState, memoryStateSpecs } from './linear-memory.js';
import { stepBy, type Mixer, type MixerPlace, type SequenceForm } from './mixer.js';

const linearOptions = z.strictObject({
  heads: z.number().int().min(1).default(4).describe('Heads; must divide dim.'),
  causal: z
    .boolean()
    .default(true)
    .describe('Whether a step sees its past alone; if not it sees its whole document, and nothing can be generated.'),
});

export const linearAttentionMixer = defineMixer({
  name: 'linearAttention',
  summary: 'attention with features elu + 1 in place of softmax (linear Transformer, arXiv 2006.16236)',
  options: linearOptions,
  feedForward: 'layer',
  create: ({ heads, causal }, place) =>
    createFeatureAttention('linearAttention', { heads, causal }, place, (x) => activate(x, 'eluplus1')),
});

/** Added to the sum of the weights of a step (eq. 4 as published in code). */
const EPS = 1e-6;

/**
 * Attention normalised over positive features of queries and keys.
 *
 * @param features  [B,T,NH*DH] -> [B,T,NH*M], the same map for every head
 * @param width     M; DH by default
 * @throws RangeError when heads does not divide the width.
 */
export function createFeatureAttention(
  kind: string,
  { heads, causal }: { heads: number; causal: boolean },
  place: MixerPlace,
  features: (x: Tensor) => Tensor,
  width?: number,
): Mixer {
  const D = place.dim;
  const { DV, NH } = memorySizes(kind, heads, D, D);
  const sizes = { NH, DK: width ?? DV, DV };
  const parameters = featureAttentionParameters(place);

  const forward: SequenceForm = (p: ParameterTensors, x, { state, wantState, reset, key }, options = {}) => {
    const q = features(applyLinear(p, 'q', x)); // [B,T,NH*DK]
    const k = features(applyLinear(p, 'k', x));
    const v = applyLinear(p, 'v', x); // [B,T,D]
    const before = causal ? memoryState(state) : null;
    const form = { heads, causal, normalize: true, eps: EPS, state: before, reset, wantState, ...options };
    const [o, next] = linearAttention({ q, k, v }, form);
    return [dropout(applyLinear(p, 'out', o), place.dropout, key), { ...next }];
  };

  return {
    kind,
    causal,
    causalVariant: `set ${kind}.causal to true`,
    parameters,
    stateSpecs: (B) => (causal ? memoryStateSpecs(sizes, B, true) : {}),
    forward,
    step: stepBy(forward),
    flopsPerToken: () => 2 * countParameters(parameters) + memoryFlops(sizes),
  };
}

function featureAttentionParameters({ dim: D, bias, inputInit, outputInit }: MixerPlace): ParameterTable {
  const map = linearParameters(D, D, inputInit, bias);
  return {
    ...prefixed('q', map),
    ...prefixed('k', map),
    ...prefixed('v', map),
    ...prefixed('out', linearParameters(D, D, outputInit, bias)),
  };
}

/**
 * @file What the mixers on gated linear attention share: heads and their widths, the state of the memory, and the
 * form around it. No mixer of its own.
 */
import { countParameters, type ParameterTable } from '../layers/parameter.js';
import type { LinearAttentionState } from '../ops/linear-attention.js';
import { stepBy, type Mixer, type MixerState, type SequenceForm, type StateSpec } from './mixer.js';

/** Heads of a memory and the widths of their keys and values. */
export interface MemorySizes {
  readonly NH: number;
  readonly DK: number;
  readonly DV: number;
}

/**
 * Heads of `keys` key channels and `values` value channels in all.
 * @throws RangeError when the widths are no whole numbers or heads does not divide them.
 */
export function memorySizes(mixer: string, NH: number, keys: number, values: number): MemorySizes {
  const [DK, DV] = [keys / NH, values / NH];
  if (Number.isInteger(DK) && Number.isInteger(DV) && DK >= 1 && DV >= 1) return { NH, DK, DV };
  throw new RangeError(
    `${mixer}: heads must divide the widths of keys and values, got ${NH} heads of ${keys} and ${values}`,
  );
}

/** Shapes of the memory, and with `normalize` of the sum of its keys. */
export const memoryStateSpecs = (
  { NH, DK, DV }: MemorySizes,
  B: number,
  normalize = false,
): Record<string, StateSpec> => ({
  S: { shape: [B, NH, DK, DV], batchAxis: 0, initial: 0 },
  ...(normalize ? { z: { shape: [B, NH, DK], batchAxis: 0, initial: 0 } } : {}),
});

/** The memory in a mixer's state. */
export const memoryState = (state: MixerState | null): LinearAttentionState | null =>
  state === null ? null : { S: state['S']!, ...(state['z'] === undefined ? {} : { z: state['z'] }) };

/** Multiply-adds counted as two, per token: what is added to the memory and what is read of it. */
export const memoryFlops = ({ NH, DK, DV }: MemorySizes): number => NH * 4 * DK * DV;

/**
 * A causal mixer on a memory, whose step is its form over whole sequences for one step.
 * @param carried  what its state has beside the memory, for a batch of B
 */
export const memoryMixer = (
  kind: string,
  sizes: MemorySizes,
  parameters: ParameterTable,
  forward: SequenceForm,
  carried: (B: number) => Record<string, StateSpec> = () => ({}),
): Mixer => ({
  kind,
  causal: true,
  parameters,
  stateSpecs: (B) => ({ ...memoryStateSpecs(sizes, B), ...carried(B) }),
  forward,
  step: stepBy(forward),
  flopsPerToken: () => 2 * countParameters(parameters) + memoryFlops(sizes),
});

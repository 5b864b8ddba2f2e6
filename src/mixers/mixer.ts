/**
 * @file What a sequence mixer is: parameters, a form over whole sequences, a form for one step, and a state.
 * The residual connection, its norm and the feed-forward layer around it belong to the block (`model/block.ts`).
 */
import type { Device } from '../device/device.js';
import type { Init, ParameterTable, ParameterTensors } from '../layers/parameter.js';
import type { Reset } from '../ops/reset.js';
import { lastStep } from '../ops/time.js';
import type { RandomKey } from '../tensor/random.js';
import { size, type Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import type { CellObserver } from './cell-record.js';

/** Where in the model a mixer sits; some initial values depend on it. */
export interface MixerPlace {
  /** Model width D. */
  readonly dim: number;
  /** Index of the block, from 0. */
  readonly block: number;
  /** Number of blocks NB. */
  readonly blocks: number;
  /** Which of the blocks with this mixer it is, from 0, and how many there are. */
  readonly kindIndex: number;
  readonly kindBlocks: number;
  /** Probability of dropping an element of the mixer's output. */
  readonly dropout: number;
  /** Added to the variance, or the mean square, in the mixer's norms. */
  readonly normEps: number;
  /** Whether the projections of mixers that can do with or without have biases. */
  readonly bias: boolean;
  /** Initial values of a matrix that reads the residual stream. */
  readonly inputInit: Init;
  /** Initial values of a matrix that writes to the residual stream. */
  readonly outputInit: Init;
}

/** What a mixer carries from step to step, by name; each tensor has the batch as one axis. */
export type MixerState = Readonly<Record<string, Tensor>>;

export interface StateSpec {
  readonly shape: Shape;
  /** Which axis counts the sequences of the batch. */
  readonly batchAxis: number;
  /** The value before the first step: one for all elements, or one per index of the first axis. */
  readonly initial: number | readonly number[];
}

/**
 * What blocks of one pass over the model leave for later ones, by name: RWKV-7 reads the values of its first block in all
 * others, HGRN the lower bounds that its first block has the parameter of. It lives as long as the pass and is no part of
 * the state.
 */
export type SharedValues = Map<string, Tensor>;

/** Which steps' outputs are wanted: those of all, or that of the last alone. */
export type Outputs = 'all' | 'last';

/** Takes what is wanted of x [B,T,D]: x, or its last step [B,1,D]. */
export const wanted =
  (outputs: Outputs | undefined) =>
  (x: Tensor): Tensor =>
    outputs === 'last' ? lastStep(x) : x;

export interface MixerContext {
  /** State after what came before; null to start afresh. */
  readonly state: MixerState | null;
  /** False where nobody will look at the state after the last step: the mixer may return `{}`. */
  readonly wantState: boolean;
  /** With 'last' the mixer may return y [B,1,D], and leave out what no later step needs. Default 'all'. */
  readonly outputs?: Outputs | undefined;
  readonly reset: Reset;
  /** Key of this mixer's dropout; null at inference. */
  readonly key: RandomKey | null;
  /** What earlier blocks left; absent where a mixer runs alone. */
  readonly shared?: SharedValues;
  /** Told by mLSTM and sLSTM of their cell, once it is enqueued. */
  readonly observe?: CellObserver;
}

export interface StepOptions {
  /**
   * Let the next state take the memory of the one before where the mixer can: half the traffic for a large memory. The
   * state given must not be used afterwards, but for the tensors that come back in the next one. Default false.
   */
  readonly inPlace?: boolean;
  /** As in `MixerContext`: what the mixers of earlier blocks left in this step. */
  readonly shared?: SharedValues;
}

export interface Mixer {
  /** The name it is registered under. */
  readonly kind: string;
  /** Whether no output depends on a later input. */
  readonly causal: boolean;
  /** Where it is not causal, how to get a variant that is: "set bigs.direction to forward". */
  readonly causalVariant?: string;
  /** Whether its kernels take bf16 activations, where the device has them. */
  readonly hasBf16?: boolean;
  readonly parameters: ParameterTable;
  /** Shapes of the state for a batch of B. */
  stateSpecs(B: number): Readonly<Record<string, StateSpec>>;
  /**
   * x [B,T,D] -> y [B,T,D] (see `outputs`) and the state after the last step. Agrees with `step` over any cut of the
   * sequence.
   */
  forward(p: ParameterTensors, x: Tensor, context: MixerContext): [Tensor, MixerState];
  /** x [B,D] -> y [B,D] and the next state: the definition. For inference. */
  step(p: ParameterTensors, x: Tensor, state: MixerState, options?: StepOptions): [Tensor, MixerState];
  /** Multiply-adds counted as two, of a forward pass over a sequence of T steps, per token. */
  flopsPerToken(T: number): number;
}

/** A form over whole sequences, of which a step is the case of one; it may be told to take the memory of the state before. */
export type SequenceForm = (
  p: ParameterTensors,
  x: Tensor,
  context: MixerContext,
  options?: StepOptions,
) => [Tensor, MixerState];

/** The step form of a mixer whose sequence form does for one step what it does for many. */
export const stepBy =
  (forward: SequenceForm): Mixer['step'] =>
  (p, x, state, options = {}) => {
    const [B, D] = x.shape as [number, number];
    const { shared } = options;
    const context = { state, wantState: true, reset: null, key: null, ...(shared === undefined ? {} : { shared }) };
    const [y, next] = forward(p, x.reshape([B, 1, D]), context, options);
    return [y.reshape([B, D]), next];
  };

/** What carries a state from step to step: a mixer, or a block with all that it holds. */
export type Stateful = Pick<Mixer, 'stateSpecs'>;

/** A state as it is before the first step. It belongs to the scope, or to the caller outside of one. */
export function initialState(part: Stateful, device: Device, B: number): MixerState {
  return Object.fromEntries(
    Object.entries(part.stateSpecs(B)).map(([name, spec]) => [name, initialTensor(device, spec)]),
  );
}

function initialTensor(device: Device, { shape, initial }: StateSpec): Tensor {
  if (typeof initial === 'number') return Tensor.full(device, shape, initial);
  const tensor = Tensor.full(device, shape, 0);
  const width = tensor.size / initial.length;
  initial.forEach((value, k) => {
    if (value !== 0) device.kernels.fill(device.view(tensor.buffer, k * width, width), value, width);
  });
  return tensor;
}

/** Number of values in the state of one sequence. */
export const stateSize = (part: Stateful): number =>
  Object.values(part.stateSpecs(1)).reduce((total, { shape }) => total + size(shape), 0);

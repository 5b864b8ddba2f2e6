/**
 * @file The residual blocks of a model, with learned positions before and a norm behind them, from vectors to vectors. What comes before (an embedding)
 * and after (an output layer) belongs to `language-model.ts` and `sequence-model.ts`.
 */
import type { Device } from '../device/device.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import {
  prefixed,
  under,
  type ParameterSpec,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import type { CellRecord } from '../mixers/cell-record.js';
import {
  initialState,
  stateSize,
  wanted,
  type Mixer,
  type MixerContext,
  type MixerState,
  type Outputs,
  type SharedValues,
  type Stateful,
  type StepOptions,
} from '../mixers/mixer.js';
import { checkpoint } from '../ops/checkpoint.js';
import { add } from '../ops/elementwise.js';
import { embedding } from '../ops/embedding.js';
import { positions } from '../ops/positions.js';
import type { Reset } from '../ops/reset.js';
import { fold, type RandomKey } from '../tensor/random.js';
import { currentScope, scope } from '../tensor/scope.js';
import type { FloatDtype, Tensor } from '../tensor/tensor.js';
import { createBlock, placeOf, type Block } from './block.js';
import type { ModelConfig } from './config.js';
import { embeddingInit } from './initial-matrices.js';
import { ModelState } from './state.js';

export interface ForwardOptions {
  /** State after what came before; null to start afresh. */
  readonly state?: ModelState | null;
  /** False where the state after the last step is not needed, which spares attention its cache. Default true. */
  readonly wantState?: boolean;
  /**
   * With 'last' the hidden vectors are those of the last step [B,1,D], and the last block does no more than they take.
   * Default 'all'.
   */
  readonly outputs?: Outputs;
  /** uint8 [B,T], 1 where a new document begins. */
  readonly reset?: Reset;
  /** Key of the dropout masks; null (the default) at inference. */
  readonly key?: RandomKey | null;
  /** Recompute each block in the backward pass instead of keeping its activations. Default false. */
  readonly checkpointBlocks?: boolean;
  /** How activations are stored; 'bf16' where the device and all mixers of the model have it. Default 'float'. */
  readonly activations?: FloatDtype;
  /** Told of the cells of mLSTM and sLSTM blocks, in order, as they are enqueued: see `model/trace`. */
  readonly observe?: (block: number, record: CellRecord) => void;
}

/** The blocks of a configuration. @throws RangeError when an option does not fit the width. */
export const createBlocks = (config: ModelConfig): Block[] =>
  config.blocks.map((_, block) => createBlock(config, placeOf(config, block)));

/** The state of learned positions: how far the document has come. */
const POSITIONS: Stateful = { stateSpecs: (B) => ({ position: { shape: [B], batchAxis: 0, initial: 0 } }) };

export class Backbone {
  readonly config: ModelConfig;
  readonly blocks: readonly Block[];
  /** What carries a state: the blocks, and behind them the learned positions where there are any. */
  readonly parts: readonly Stateful[];
  /** "blocks.0.*" and so on, and "norm.*". */
  readonly parameters: ParameterTable;

  /** @throws RangeError when an option does not fit the width. */
  constructor(config: ModelConfig) {
    this.config = config;
    this.blocks = createBlocks(config);
    const learned = config.positions === 'learned';
    this.parts = learned ? [...this.blocks, POSITIONS] : this.blocks;
    this.parameters = {
      ...(learned ? { 'positions.weight': positionTable(config) } : {}),
      ...Object.assign({}, ...this.blocks.map((block, index) => prefixed(`blocks.${index}`, block.parameters))),
      ...(config.outputNorm ? prefixed('norm', normParameters(config.dim, NORMS[config.norm])) : {}),
    };
  }

  /** @throws RangeError naming a mixer that looks ahead, which a model that says something at each step cannot have. */
  checkCausal(): void {
    const ahead = this.blocks.find(({ mixer }) => !mixer.causal)?.mixer;
    if (ahead === undefined) return;
    const advice = ahead.causalVariant ?? 'take a causal mixer, or use this one to classify whole sequences';
    throw new RangeError(`model: ${ahead.kind} looks at later steps, so it cannot predict the next one; ${advice}`);
  }

  /** @throws RangeError where activations cannot be bf16, naming the device or the mixer. */
  checkBf16({ name, hasBf16 }: Device): void {
    if (!hasBf16) throw new RangeError(`model: the device ${name} has no bf16 activations; use float32`);
    const without = this.#withoutBf16();
    if (without !== undefined) throw new RangeError(`model: ${without.kind} has no bf16 activations yet; use float32`);
  }

  /** Whether activations can be bf16. */
  takesBf16({ hasBf16 }: Device): boolean {
    return hasBf16 && this.#withoutBf16() === undefined;
  }

  #withoutBf16(): Mixer | undefined {
    return this.blocks.find(({ mixer }) => mixer.hasBf16 !== true)?.mixer;
  }

  /** x [B,T,D] -> hidden vectors [B,T,D] (see `outputs`), normed, and the state after the last step. */
  forward(p: ParameterTensors, x: Tensor, options: ForwardOptions = {}): { hidden: Tensor; state: ModelState } {
    const { state = null, wantState = true, reset = null, key = null, checkpointBlocks = false, observe } = options;
    const { outputs = 'all' } = options;
    const run = checkpointBlocks ? checkpointed : direct;
    const [start, position] = this.#addPositions(p, x, state?.blocks[this.blocks.length] ?? null, reset);
    const shared: SharedValues = new Map();
    let y = start;
    const states = this.blocks.map((block, index) => {
      const blockKey = key === null ? null : fold(key, index);
      const watched = observe && { observe: (record: CellRecord) => observe(index, record) };
      const context = {
        state: state?.blocks[index] ?? null,
        wantState,
        outputs: index === this.blocks.length - 1 ? outputs : 'all',
        reset,
        key: blockKey,
        shared,
        ...watched,
      };
      const tensors = under(`blocks.${index}`, p);
      const [next, after] = currentScope(x.device).within(`blocks.${index}`, () => run(block, tensors, y, context));
      y = next;
      return after;
    });
    return { hidden: this.#finalNorm(p, wanted(outputs)(y)), state: new ModelState([...states, ...position]) };
  }

  /** One step: x [B,D] -> hidden vectors [B,D], normed, and the next state. */
  step(
    p: ParameterTensors,
    x: Tensor,
    state: ModelState,
    options?: StepOptions,
  ): { hidden: Tensor; state: ModelState } {
    const [B, D] = x.shape as [number, number];
    const before = state.blocks[this.blocks.length] ?? null;
    const [start, position] = before === null ? [x, []] : this.#addPositions(p, x.reshape([B, 1, D]), before, null);
    let y = start.reshape([B, D]);
    const stepOptions = { ...options, shared: new Map() };
    const states = this.blocks.map((block, index) => {
      const [next, after] = block.step(under(`blocks.${index}`, p), y, state.blocks[index]!, stepOptions);
      y = next;
      return after;
    });
    return { hidden: this.#finalNorm(p, y), state: new ModelState([...states, ...position]) };
  }

  /** x [B,T,D] plus the vectors of its positions, and their state, if there are any. */
  #addPositions(p: ParameterTensors, x: Tensor, state: MixerState | null, reset: Reset): [Tensor, MixerState[]] {
    if (this.config.positions === 'none') return [x, []];
    const [B, T] = x.shape as [number, number];
    const { maxLength } = this.config;
    if (T > maxLength)
      throw new RangeError(`model: ${T} steps are more than the ${maxLength} learned positions (maxLength)`);
    const [at, position] = positions(x.device, B, T, { state: state?.['position'] ?? null, reset });
    return [add(x, embedding(at, p['positions.weight']!, x.floatDtype)), [{ position }]];
  }

  /** The state of B sequences before their first step. */
  initialState(device: Device, B: number): ModelState {
    return new ModelState(this.parts.map((part) => initialState(part, device, B)));
  }

  /** Floats in the state of one sequence. */
  get stateSize(): number {
    return this.parts.reduce((total, part) => total + stateSize(part), 0);
  }

  /** Multiply-adds counted as two, of a forward pass over a sequence of T steps, per token; output layer not counted. */
  flopsPerToken(T: number): number {
    return this.blocks.reduce((total, block) => total + block.flopsPerToken(T), 0);
  }

  #finalNorm(p: ParameterTensors, x: Tensor): Tensor {
    if (!this.config.outputNorm) return x;
    return applyNorm(p, 'norm', x, this.config.normEps, NORMS[this.config.norm]);
  }
}

const positionTable = (config: ModelConfig): ParameterSpec => ({
  shape: [config.maxLength, config.dim],
  init: embeddingInit(config),
  decay: false,
});

type BlockContext = MixerContext & { readonly shared: SharedValues };
type RunBlock = (block: Block, p: ParameterTensors, x: Tensor, context: BlockContext) => [Tensor, MixerState];

const direct: RunBlock = (block, p, x, context) => {
  if (currentScope(x.device).record) return block.forward(p, x, context);
  // Without gradients what a block makes on its way is not needed behind it.
  const { device } = x;
  const [result] = scope(device, {}, () => [block.forward(p, x, context), [...context.shared.values()]] as const);
  return result;
};

/** The state and what earlier blocks left go in as inputs, what this one leaves comes out as outputs: both have gradients. */
const checkpointed: RunBlock = (block, p, x, context) => {
  const before = Object.entries(context.state ?? {});
  const earlier = [...context.shared];
  let names: string[] = [];
  let left: string[] = [];
  const [y, ...after] = checkpoint(
    ([input, ...others]) => {
      const state = context.state === null ? null : Object.fromEntries(before.map(([name], k) => [name, others[k]!]));
      const shared: SharedValues = new Map(earlier.map(([name], k) => [name, others[before.length + k]!]));
      const [output, next] = block.forward(p, input!, { ...context, state, shared });
      const added = [...shared].slice(earlier.length);
      names = Object.keys(next);
      left = added.map(([name]) => name);
      return [output, ...Object.values(next), ...added.map(([, tensor]) => tensor)];
    },
    [x, ...before.map(([, tensor]) => tensor), ...earlier.map(([, tensor]) => tensor)],
    Object.values(p),
  );
  left.forEach((name, k) => context.shared.set(name, after[names.length + k]!));
  return [y!, Object.fromEntries(names.map((name, k) => [name, after[k]!]))];
};

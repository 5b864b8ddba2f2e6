/**
 * @file The residual blocks of a model with the norm behind them, from vectors to vectors. What comes before (an embedding)
 * and after (an output layer) belongs to `language-model.ts` and `sequence-model.ts`.
 */
import type { Device } from '../device/device.js';
import { applyNorm, normParameters, NORMS } from '../layers/norm.js';
import { prefixed, under, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import { initialState, stateSize, type MixerContext, type MixerState, type StepOptions } from '../mixers/mixer.js';
import { checkpoint } from '../ops/checkpoint.js';
import type { Reset } from '../ops/reset.js';
import { fold, type RandomKey } from '../tensor/random.js';
import { currentScope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { createBlock, placeOf, type Block } from './block.js';
import type { ModelConfig } from './config.js';
import { ModelState } from './state.js';

export interface ForwardOptions {
  /** State after what came before; null to start afresh. */
  readonly state?: ModelState | null;
  /** False where the state after the last step is not needed, which spares attention its cache. Default true. */
  readonly wantState?: boolean;
  /** uint8 [B,T], 1 where a new document begins. */
  readonly reset?: Reset;
  /** Key of the dropout masks; null (the default) at inference. */
  readonly key?: RandomKey | null;
  /** Recompute each block in the backward pass instead of keeping its activations. Default false. */
  readonly checkpointBlocks?: boolean;
}

/** The blocks of a configuration. @throws RangeError when an option does not fit the width. */
export const createBlocks = (config: ModelConfig): Block[] =>
  config.blocks.map((_, block) => createBlock(config, placeOf(config, block)));

export class Backbone {
  readonly config: ModelConfig;
  readonly blocks: readonly Block[];
  /** "blocks.0.*" and so on, and "norm.*". */
  readonly parameters: ParameterTable;

  /** @throws RangeError when an option does not fit the width. */
  constructor(config: ModelConfig) {
    this.config = config;
    this.blocks = createBlocks(config);
    this.parameters = {
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

  /** x [B,T,D] -> hidden vectors [B,T,D], normed, and the state after the last step. */
  forward(p: ParameterTensors, x: Tensor, options: ForwardOptions = {}): { hidden: Tensor; state: ModelState } {
    const { state = null, wantState = true, reset = null, key = null, checkpointBlocks = false } = options;
    const run = checkpointBlocks ? checkpointed : direct;
    let y = x;
    const states = this.blocks.map((block, index) => {
      const blockKey = key === null ? null : fold(key, index);
      const context = { state: state?.blocks[index] ?? null, wantState, reset, key: blockKey };
      const tensors = under(`blocks.${index}`, p);
      const [next, after] = currentScope(x.device).within(`blocks.${index}`, () => run(block, tensors, y, context));
      y = next;
      return after;
    });
    return { hidden: this.#finalNorm(p, y), state: new ModelState(states) };
  }

  /** One step: x [B,D] -> hidden vectors [B,D], normed, and the next state. */
  step(
    p: ParameterTensors,
    x: Tensor,
    state: ModelState,
    options?: StepOptions,
  ): { hidden: Tensor; state: ModelState } {
    let y = x;
    const states = this.blocks.map((block, index) => {
      const [next, after] = block.step(under(`blocks.${index}`, p), y, state.blocks[index]!, options);
      y = next;
      return after;
    });
    return { hidden: this.#finalNorm(p, y), state: new ModelState(states) };
  }

  /** The state of B sequences before their first step. */
  initialState(device: Device, B: number): ModelState {
    return new ModelState(this.blocks.map((block) => initialState(block, device, B)));
  }

  /** Floats in the state of one sequence. */
  get stateSize(): number {
    return this.blocks.reduce((total, block) => total + stateSize(block), 0);
  }

  /** Multiply-adds counted as two, of a forward pass, per token; output layer not counted. */
  get flopsPerToken(): number {
    return this.blocks.reduce((total, block) => total + block.flopsPerToken, 0);
  }

  #finalNorm(p: ParameterTensors, x: Tensor): Tensor {
    if (!this.config.outputNorm) return x;
    return applyNorm(p, 'norm', x, this.config.normEps, NORMS[this.config.norm]);
  }
}

type RunBlock = (block: Block, p: ParameterTensors, x: Tensor, context: MixerContext) => [Tensor, MixerState];

const direct: RunBlock = (block, p, x, context) => block.forward(p, x, context);

const checkpointed: RunBlock = (block, p, x, context) => {
  const before = Object.entries(context.state ?? {});
  let names: string[] = [];
  const [y, ...after] = checkpoint(
    ([input, ...states]) => {
      const state = context.state === null ? null : Object.fromEntries(before.map(([name], k) => [name, states[k]!]));
      const [output, next] = block.forward(p, input!, { ...context, state });
      names = Object.keys(next);
      return [output, ...Object.values(next)];
    },
    [x, ...before.map(([, tensor]) => tensor)],
    Object.values(p),
  );
  return [y!, Object.fromEntries(after.map((tensor, k) => [names[k]!, tensor]))];
};

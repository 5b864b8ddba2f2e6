/**
 * @file What the checks of a mixer are about: the mixer with parameters that hide nothing; where it leaves something for later
 * blocks of its kind, as RWKV-7 and HGRN do, two of it one behind the other. The checks themselves are in `check-mixer.ts`.
 */
import { createReferenceDevice } from '../device/reference/reference.js';
import { initialValues, prefixed, under } from '../layers/parameter.js';
import type { MixerDefinition } from '../mixers/definition.js';
import type { Mixer, MixerContext, MixerState, SharedValues, StepOptions } from '../mixers/mixer.js';
import { placeOf } from '../model/block.js';
import { modelConfigSchema } from '../model/config.js';
import { add } from '../ops/elementwise.js';
import { fold, normal, randomKey, type RandomKey } from '../tensor/random.js';
import { scope } from '../tensor/scope.js';
import { size } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';

export interface SubjectOptions {
  /** Model width D. Default 32. */
  readonly dim?: number;
  /** Options of the mixer; the others have their defaults. */
  readonly options?: Readonly<Record<string, unknown>>;
  readonly seed?: number;
}

export interface Subject {
  readonly mixer: Mixer;
  readonly dim: number;
  /** The initial values, of which many are zero, with noise on them. */
  readonly values: ReadonlyMap<string, Float64Array>;
  readonly key: RandomKey;
}

/** @throws RangeError or ConfigError when the options do not fit. */
export function makeSubject(
  definition: MixerDefinition,
  { dim = 32, options = {}, seed = 0 }: SubjectOptions,
): Subject {
  // The first and the middle one of three blocks; which mixer the configuration names does not matter.
  const config = modelConfigSchema.parse({ dim, blocks: ['mlstm', 'mlstm', 'mlstm'], bias: true });
  const create = (block: number) => definition.create(definition.options.parse(options), placeOf(config, block));
  const [first, second] = [create(0), create(1)];
  const mixer = leavesSomething(first, dim) ? oneBehindTheOther(first, second) : second;
  const key = fold(randomKey(seed), definition.name);
  const values = Object.entries(mixer.parameters).map(([name, spec]) => {
    const noise = normal(fold(fold(key, 'noise'), name), size(spec.shape), 0, 0.2);
    const initial = initialValues(spec, fold(fold(key, 'initial'), name));
    return [name, initial.map((value, k) => value + noise[k]!)] as const;
  });
  return { mixer, dim, values: new Map(values), key };
}

/** Whether a pass leaves tensors for later blocks. A mixer that throws does not: the checks will say what is wrong. */
function leavesSomething({ parameters, forward }: Mixer, dim: number): boolean {
  const device = createReferenceDevice();
  const shared: SharedValues = new Map();
  try {
    scope(device, {}, () => {
      const tensors = Object.entries(parameters).map(([name, { shape }]) => [name, Tensor.full(device, shape, 0)]);
      const context = { state: null, wantState: false, reset: null, key: null, shared };
      forward(Object.fromEntries(tensors) as Record<string, Tensor>, Tensor.full(device, [1, 1, dim], 0), context);
    });
  } catch {
    return false;
  }
  return shared.size > 0;
}

const named = <T>(prefix: string, record: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [`${prefix}.${name}`, value]));

/** second(x + first(x)), with what the first leaves for the second; parameters and states are "first.*" and "second.*". */
function oneBehindTheOther(first: Mixer, second: Mixer): Mixer {
  type Run = (mixer: Mixer, name: string, x: Tensor, shared: SharedValues) => [Tensor, MixerState];
  const both = (x: Tensor, run: Run): [Tensor, MixerState] => {
    const shared: SharedValues = new Map();
    const [y, one] = run(first, 'first', x, shared);
    const [z, two] = run(second, 'second', add(x, y), shared);
    return [z, { ...named('first', one), ...named('second', two) }];
  };
  return {
    kind: second.kind,
    causal: second.causal,
    parameters: { ...prefixed('first', first.parameters), ...prefixed('second', second.parameters) },
    stateSpecs: (B) => ({ ...named('first', first.stateSpecs(B)), ...named('second', second.stateSpecs(B)) }),
    forward: (p, x, context: MixerContext) =>
      both(x, (mixer, name, input, shared) => {
        const state = context.state === null ? null : under(name, context.state);
        return mixer.forward(under(name, p), input, { ...context, state, shared });
      }),
    step: (p, x, state, options?: StepOptions) =>
      both(x, (mixer, name, input, shared) =>
        mixer.step(under(name, p), input, under(name, state), { ...options, shared }),
      ),
    flopsPerToken: (T) => first.flopsPerToken(T) + second.flopsPerToken(T),
  };
}

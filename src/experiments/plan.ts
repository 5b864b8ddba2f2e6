/**
 * @file From a compare.yaml to its runs: tasks x models x sizes x learning rates x seeds, each fully resolved, with a name
 * that stays the same as long as what it does stays the same. It carries nothing out.
 */
import { findArchitecture, type Architecture } from '../model/architectures.js';
import { checkConfig, ConfigError, suggestion } from '../model/check-config.js';
import { modelConfigSchema, writtenConfig, type ModelConfigInput } from '../model/config.js';
import { LENGTH_OPTIONS } from '../mixers/options.js';
import { findMixer, isCustomMixer, mixerNames } from '../mixers/registry.js';
import type { CompareConfig, CompareModel, CompareSize, CompareTask, TrainingFields } from './compare-config.js';
import { matchWidth } from './match-width.js';
import { specHash, type RunSpec } from './run-spec.js';

type Tree = Readonly<Record<string, unknown>>;

/** A file with a mixer that has been loaded: its mixer is in the registry. */
export interface LoadedMixerFile {
  readonly file: string;
  readonly sha256: string;
  /** Name of the mixer in it. */
  readonly mixer: string;
}

/** What the plan needs to know of tasks and models. */
export interface PlanTools {
  /** All options of a task, those of the preset under those given. @throws ConfigError or RangeError naming what is wrong. */
  taskOptions(name: string, preset: string | undefined, options: Tree): Tree;
  /** Steps of the longest sequence of a task, in training or in a test. */
  longestSequence(task: RunSpec['task']): number;
  /** Parameters of a model for a task. @throws RangeError when the model does not fit its width or the task. */
  countParameters(model: ModelConfigInput, task: RunSpec['task']): number;
  /** The loaded files of mixers by the names under which compare.yaml has them. */
  readonly mixerFiles: ReadonlyMap<string, LoadedMixerFile>;
}

/**
 * All runs of a comparison. Those of the first seed come first, so that every model has a number early.
 * @throws ConfigError naming the task, model or size at fault.
 */
export function planRuns(config: CompareConfig, tools: PlanTools): RunSpec[] {
  const tasks = named('tasks', config.tasks, (task) => task.label ?? task.name);
  const kinds = config.models.map((model, k) => architectureOf(model, k, tools));
  kinds.forEach(checkMixers);
  const models = named('models', config.models, (model, k) => model.label ?? kinds[k]!.label).map(
    ([label, own], k): PlannedModel => ({ label, own, architecture: kinds[k]! }),
  );
  const sizes = named('sizes', config.sizes, (size) => size.label ?? `D${size.dim}x${size.blocks}`);
  const cells = tasks.flatMap(([taskLabel, task]) => {
    const resolved = resolveTask(task, taskLabel, tools);
    return sizes.flatMap(([sizeLabel, size]) =>
      planModels(config, tools, resolved, task, size, models).map((cell) => ({ ...cell, size: sizeLabel })),
    );
  });
  const runs = config.seeds.flatMap((seed) =>
    cells.flatMap(({ learningRates, training, ...cell }) =>
      learningRates.map((rate) =>
        finish({ ...cell, training: resolveTraining(training, rate), seed, device: config.device }),
      ),
    ),
  );
  return refuseTwins(runs);
}

type Named<T> = readonly [label: string, item: T];

/** @throws ConfigError when two have the same label: tables would throw them together. */
function named<T>(field: string, items: readonly T[], labelOf: (item: T, index: number) => string): Named<T>[] {
  const labels = new Set<string>();
  return items.map((item, index): Named<T> => {
    const label = labelOf(item, index);
    if (labels.has(label))
      throw new ConfigError(`${field}.${index}: another one is called "${label}"; give it a label`);
    labels.add(label);
    return [label, item];
  });
}

function resolveTask(task: CompareTask, label: string, tools: PlanTools): RunSpec['task'] {
  try {
    return { name: task.name, label, options: { ...tools.taskOptions(task.name, task.preset, task.options) } };
  } catch (error) {
    throw new ConfigError(`task "${label}": ${(error as Error).message}`, { cause: error });
  }
}

// ---- models --------------------------------------------------------------------------------------------------------

/** A ratio given as mixer stands for an architecture too. */
const RATIO = /^xlstm\[/i;

/** What a model is made of, before its width and depth. @throws ConfigError when it does not say one thing. */
function architectureOf(given: CompareModel, index: number, tools: PlanTools): Architecture {
  const { architecture, mixer, pattern, mixerFile } = given;
  const what = `models.${index}`;
  if ([architecture, mixer, pattern].filter((way) => way !== undefined).length > 1) {
    throw new ConfigError(`${what}: give one of architecture, mixer and pattern`);
  }
  const name = architecture ?? (RATIO.test(mixer ?? '') ? mixer : undefined);
  if (name !== undefined) return explain(what, () => findArchitecture(name));
  const own = mixerFile === undefined ? undefined : tools.mixerFiles.get(mixerFile)!.mixer;
  const names = pattern ?? [mixer ?? own].filter((one) => one !== undefined);
  if (names.length > 0) return { label: names.join('+'), pattern: names, model: {} };
  throw new ConfigError(`${what}: give an architecture, a mixer, a pattern of mixers, or a mixerFile`);
}

/** @throws ConfigError naming a mixer that does not exist. */
function checkMixers({ pattern }: Architecture, index: number): void {
  const unknown = pattern.find((name) => findMixer(name) === undefined);
  if (unknown === undefined) return;
  throw new ConfigError(`models.${index}: there is no mixer "${unknown}"${suggestion(unknown, mixerNames())}`);
}

interface PlannedModel {
  readonly label: string;
  readonly own: CompareModel;
  readonly architecture: Architecture;
}

interface Cell {
  readonly task: RunSpec['task'];
  readonly label: string;
  readonly mixers: string[];
  readonly mixerFiles: RunSpec['mixerFiles'];
  readonly model: ModelConfigInput;
  readonly training: TrainingFields;
  readonly learningRates: readonly number[];
}

/** The models at one size for one task. */
function planModels(
  config: CompareConfig,
  tools: PlanTools,
  task: RunSpec['task'],
  own: CompareTask,
  size: CompareSize,
  models: readonly PlannedModel[],
): Cell[] {
  const files = config.models.flatMap(({ mixerFile }) =>
    mixerFile === undefined ? [] : [tools.mixerFiles.get(mixerFile)!],
  );
  const wanted = config.matchParameters?.target;
  let target: number | null = typeof wanted === 'number' ? wanted : null;
  return models.map(({ label, own: model, architecture }) => {
    const what = `model "${label}" at D${size.dim}x${size.blocks} on ${task.label}`;
    const { pattern } = architecture;
    const depth = Math.max(1, Math.round(size.blocks * model.depth));
    const blocks = Array.from({ length: depth }, (_, k) => pattern[k % pattern.length]!);
    const scopes = [config.model, own.model, size.model, model.model];
    const merged = merge({ dim: size.dim, blocks }, { ...architecture.model }, ...scopes);
    const written = withSizes(merged, blocks, { heads: size.heads, length: tools.longestSequence(task) });
    const checked = checkModel(written, what);
    const count = (dim: number): number => tools.countParameters({ ...checked, dim }, task);
    const dim = matchedWidth(config, checked.dim!, count, target, what);
    if (wanted === 'first') target ??= count(dim);
    const mixers = [...new Set(blocks)];
    return {
      task,
      label,
      mixers,
      mixerFiles: files.flatMap(({ file, sha256, mixer }) => (mixers.includes(mixer) ? [{ file, sha256 }] : [])),
      model: { ...checked, dim },
      training: mergeTraining([config.training, own.training, size.training, model.training]),
      learningRates: model.learningRates ?? own.learningRates ?? config.learningRates,
    };
  });
}

/** The width of a model: as written, or such that it has the target's number of parameters. @param target  null: none */
function matchedWidth(
  { matchParameters }: CompareConfig,
  written: number,
  count: (dim: number) => number,
  target: number | null,
  what: string,
): number {
  if (matchParameters === undefined || target === null) {
    explain(what, () => count(written));
    return written;
  }
  const fitting = (width: number): number | null => {
    try {
      return count(width);
    } catch (error) {
      if (error instanceof RangeError) return null;
      throw error;
    }
  };
  if (fitting(written) === target) return written;
  const { tolerance, step } = matchParameters;
  return matchWidth(fitting, { target, tolerance, step }, what).dim;
}

/** The complete configuration of a model, without what the task decides and what belongs to other mixers. */
function checkModel(written: Tree, what: string): ModelConfigInput {
  const { vocabSize: _, ...model } = writtenConfig(checkConfig(modelConfigSchema, written, what));
  return model;
}

/** Heads and lengths, the longest of the task, of every mixer that has them, where they are not written. */
function withSizes(
  written: Tree,
  blocks: readonly string[],
  { heads, length }: { readonly heads: number | undefined; readonly length: number },
): Tree {
  const sizesOf = (name: string): Tree => {
    const fields = Object.keys(findMixer(name)!.options.shape);
    const lengths = fields.filter((field) => LENGTH_OPTIONS.includes(field)).map((field) => [field, length]);
    return { ...(heads !== undefined && fields.includes('heads') ? { heads } : {}), ...Object.fromEntries(lengths) };
  };
  const trees = [...new Set(blocks)].map((name): Tree => {
    const sizes = { [name]: sizesOf(name) };
    return isCustomMixer(name) ? { custom: sizes } : sizes;
  });
  return merge({ maxLength: length }, ...trees, written);
}

/** Later trees win; objects are merged, lists and values replaced. */
function merge(...trees: readonly Tree[]): Tree {
  const isTree = (value: unknown): value is Tree =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  const result: Record<string, unknown> = {};
  for (const tree of trees) {
    for (const [name, value] of Object.entries(tree)) {
      const before = result[name];
      result[name] = isTree(before) && isTree(value) ? merge(before, value) : value;
    }
  }
  return result;
}

function explain<T>(what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof RangeError) throw new ConfigError(`${what}: ${error.message}`, { cause: error });
    throw error;
  }
}

// ---- training ------------------------------------------------------------------------------------------------------

/** Two ways to say the same thing: where one is written, the other one of a wider scope does not count. */
const EITHER = [
  ['warmupSteps', 'warmupFraction'],
  ['finalLearningRate', 'finalRatio'],
] as const;

function mergeTraining(scopes: readonly TrainingFields[]): TrainingFields {
  let merged: TrainingFields = {};
  for (const scope of scopes) {
    const covered = EITHER.flatMap((pair) => (pair.some((name) => scope[name] !== undefined) ? pair : []));
    const rest = Object.entries(merged).filter(([name]) => !(covered as readonly string[]).includes(name));
    merged = { ...Object.fromEntries(rest), ...scope };
  }
  return merged;
}

function resolveTraining(fields: TrainingFields, learningRate: number): RunSpec['training'] {
  const { steps = 1000, warmupFraction = 0.1, finalLearningRate, evaluations = 10 } = fields;
  return {
    steps,
    batchSize: fields.batchSize ?? 32,
    learningRate,
    schedule: fields.schedule ?? 'cosine',
    warmupSteps: fields.warmupSteps ?? Math.round(warmupFraction * steps),
    finalRatio:
      finalLearningRate === undefined ? (fields.finalRatio ?? 0.1) : Math.min(1, finalLearningRate / learningRate),
    beta1: fields.beta1 ?? 0.9,
    beta2: fields.beta2 ?? 0.99,
    eps: fields.eps ?? 1e-8,
    weightDecay: fields.weightDecay ?? 0.1,
    gradientClip: fields.gradientClip ?? 1,
    evalEvery: Math.ceil(steps / evaluations),
  };
}

// ---- names ---------------------------------------------------------------------------------------------------------

/** Characters of the readable part of a name. */
const READABLE = 80;

function finish(spec: Omit<RunSpec, 'name'>): RunSpec {
  const { task, label, size, training, seed } = spec;
  const readable = `${task.label} ${label} ${size} lr${training.learningRate} s${seed}`
    .replaceAll(/[^\w.+]+/g, '-')
    .replaceAll(/^[-.]+|-+$/g, '')
    .slice(0, READABLE);
  return { name: `${readable}-${specHash(spec)}`, ...spec };
}

/** @throws ConfigError when two runs would do the same. */
function refuseTwins(runs: readonly RunSpec[]): RunSpec[] {
  const seen = new Map<string, RunSpec>();
  for (const run of runs) {
    const hash = run.name.slice(-10);
    const twin = seen.get(hash);
    if (twin !== undefined) {
      const tell = ({ task, label, size, training, seed }: RunSpec) =>
        `${label} at ${size} on ${task.label}, learning rate ${training.learningRate}, seed ${seed}`;
      throw new ConfigError(`two runs do the same: ${tell(twin)}; and ${tell(run)}; remove one of them`);
    }
    seen.set(hash, run);
  }
  return [...runs];
}

/**
 * @file The folder of a run: where its parts lie, and its checkpoints (model, optimizer, position), written whole or not
 * at all. It does not train.
 */
import fs from 'node:fs';
import path from 'node:path';
import * as z from 'zod';
import type { FloatArray } from '../device/device.js';
import { checkConfig } from '../model/check-config.js';
import { readNamedTensors, saveModel } from '../model/checkpoint.js';
import { namedTensors } from '../model/named-tensors.js';
import { formatOf } from '../model/formats/open.js';
import type { LanguageModel } from '../model/language-model.js';
import { openSafetensors, writeSafetensors } from '../model/safetensors.js';
import type { TensorArray, TensorToWrite } from '../model/tensor-array.js';
import { ModelState } from '../model/state.js';
import { Tensor } from '../tensor/tensor.js';
import type { Tokenizer } from '../tokens/tokenizer.js';
import { saveTokenizer } from '../tokens/tokenizer-files.js';
import { keepLast, listSteps, writeFolderAtomically } from './atomic-folder.js';
import type { Trainer } from './trainer.js';

const TRAINING = 'training.safetensors';
const PROGRESS = 'training.json';

const progressSchema = z.strictObject({
  /** Optimizer steps done; with the seed it decides random keys and the position in the data. */
  step: z.number().int(),
  /** Updates made: steps less those left out because something was not finite. */
  updates: z.number().int(),
  tokens: z.number(),
  elapsedSeconds: z.number(),
  emaLoss: z.number().nullable(),
  /** The checkpoint with the lowest loss on held-out text so far. */
  best: z.object({ step: z.number().int(), loss: z.number() }).nullable(),
});

/** Where a run stands, beside its tensors. */
export type RunProgress = z.output<typeof progressSchema>;

/** The parts of a run folder. */
export const runPaths = (folder: string) => ({
  config: path.join(folder, 'config.yaml'),
  metrics: path.join(folder, 'metrics.jsonl'),
  samples: path.join(folder, 'samples.jsonl'),
  report: path.join(folder, 'report.html'),
  data: path.join(folder, 'data'),
  checkpoints: path.join(folder, 'checkpoints'),
  checkpoint: (step: number) => path.join(folder, 'checkpoints', String(step)),
});

/**
 * Writes checkpoints/<step>: a model folder with tokenizer, optimizer moments, carried state and progress.
 * @throws WriteError when the disk refuses; the previous checkpoint stands.
 */
export async function saveCheckpoint(
  folder: string,
  trainer: Trainer,
  tokenizer: Tokenizer,
  progress: RunProgress,
  training: Readonly<Record<string, unknown>>,
): Promise<void> {
  const target = runPaths(folder).checkpoint(progress.step);
  await writeFolderAtomically(
    target,
    async (dir) => {
      await saveModel(dir, trainer.model, { tokenizer: tokenizer.fingerprint(), training });
      saveTokenizer(dir, tokenizer);
      await writeSafetensors(path.join(dir, TRAINING), await trainingTensors(trainer));
      fs.writeFileSync(path.join(dir, PROGRESS), `${JSON.stringify(progress, null, 2)}\n`);
    },
    'the checkpoint',
  );
}

/** Moments, carried state, and the parameters themselves where model.safetensors rounds them. */
async function trainingTensors(trainer: Trainer): Promise<TensorToWrite[]> {
  const { model, optimizer, state } = trainer;
  const { places, values } = model.parameters;
  const { m, v } = await optimizer.moments();
  const tensors = [...namedTensors(places, m, 'm.'), ...namedTensors(places, v, 'v.')];
  if (model.device.precision === 'float64') {
    tensors.push(...namedTensors(places, (await model.device.read(values)) as FloatArray, 'values.'));
  }
  for (const [name, tensor] of stateEntries(state)) {
    const data = (await tensor.data()) as TensorArray;
    tensors.push({ name, dtype: data instanceof Float64Array ? 'F64' : 'F32', shape: tensor.shape, data });
  }
  return tensors;
}

const stateEntries = (state: ModelState | null): [string, Tensor][] =>
  (state?.blocks ?? []).flatMap((block, k) =>
    Object.entries(block).map(([name, tensor]): [string, Tensor] => [`state.${k}.${name}`, tensor]),
  );

/**
 * Puts a checkpoint into a trainer whose model has its configuration.
 * @throws Error when a file is missing or damaged, RangeError when tensors do not fit.
 */
export function restoreCheckpoint(checkpoint: string, trainer: Trainer): RunProgress {
  const { model, optimizer } = trainer;
  const { parameters, device } = model;
  const progress = readProgress(checkpoint);
  using weights = openSafetensors(path.join(checkpoint, 'model.safetensors'));
  using training = openSafetensors(path.join(checkpoint, TRAINING));
  const exact = device.precision === 'float64' && training.tensors.has(`values.${parameters.places[0]!.name}`);
  if (exact) readNamedTensors(training, parameters, parameters.values, 'values.');
  else readNamedTensors(weights, parameters, parameters.values);
  readNamedTensors(training, parameters, optimizer.m, 'm.');
  readNamedTensors(training, parameters, optimizer.v, 'v.');
  optimizer.step = progress.updates;
  trainer.state = readState(training, model);
  return progress;
}

function readState(file: ReturnType<typeof openSafetensors>, model: LanguageModel): ModelState | null {
  const names = [...file.tensors.keys()].filter((name) => name.startsWith('state.'));
  if (names.length === 0) return null;
  const blocks = model.blocks.map((_, k) => {
    const prefix = `state.${k}.`;
    const mine = names.filter((name) => name.startsWith(prefix));
    return Object.fromEntries(
      mine.map((name) => {
        const data = file.read(name) as FloatArray;
        return [name.slice(prefix.length), Tensor.from(model.device, data, file.tensors.get(name)!.shape)];
      }),
    );
  });
  return new ModelState(blocks);
}

/** @throws Error when training.json is missing or damaged. */
export function readProgress(checkpoint: string): RunProgress {
  const file = path.join(checkpoint, PROGRESS);
  let json: unknown;
  try {
    json = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new Error(`${file}: cannot be read (${(cause as Error).message}); the checkpoint is damaged`, { cause });
  }
  return checkConfig(progressSchema, json, file);
}

/** Removes old checkpoints: the last `count` and the best stay. */
export function pruneCheckpoints(folder: string, count: number, best: number | null): void {
  keepLast(runPaths(folder).checkpoints, count, best === null ? [] : [best]);
}

/** The steps of a run's checkpoints, ascending. */
export const checkpointSteps = (folder: string): number[] => listSteps(runPaths(folder).checkpoints);

/**
 * The model folder that a path means: the best checkpoint of a run, or its last one; any other folder itself, whoever
 * wrote it.
 * @throws Error when there is neither a model nor a checkpoint.
 */
export function resolveModelFolder(folder: string): string {
  const last = checkpointSteps(folder).at(-1);
  if (last === undefined) {
    if (fs.existsSync(runPaths(folder).metrics)) throw new Error(`${folder}: this run has no checkpoint yet`);
    formatOf(folder);
    return folder;
  }
  const best = readProgress(runPaths(folder).checkpoint(last)).best?.step ?? last;
  return runPaths(folder).checkpoint(fs.existsSync(runPaths(folder).checkpoint(best)) ? best : last);
}

/** @file The program of a worker process: loads the files of mixers that its run names, and trains it. */
import { registerRunMixers } from './mixer-file.js';
import type { TrainTask } from './run-spec.js';
import { serveRun } from './run-worker.js';
import { trainTask } from './train-task.js';

const execute: TrainTask = async (spec, hooks) => {
  await registerRunMixers(spec.mixerFiles);
  return trainTask(spec, hooks);
};

serveRun(execute);

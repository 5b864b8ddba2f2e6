/**
 * @file Runs that take no time, for tests of what is around them. What a run does stands in its task's options: how long
 * it takes, and how it breaks.
 */
import fs from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { WriteError } from '../../src/model/disk.js';
import type { RunResult, RunSpec, TrainTask } from '../../src/experiments/run-spec.js';
import { exampleSpec } from './run-specs.js';

interface FakeOptions {
  /** File to which a line is added when a run begins and when it ends. */
  readonly log?: string;
  readonly milliseconds?: number;
  readonly breaks?: 'throws' | 'diskFull' | 'exit' | 'SIGKILL' | 'SIGTERM' | 'heap';
}

/** Runs named run-0, run-1, ...; each with what it is to do. */
export const fakePlan = (count: number, options: FakeOptions | ((k: number) => FakeOptions)): RunSpec[] =>
  Array.from({ length: count }, (_, k) =>
    exampleSpec({
      name: `run-${k}`,
      seed: k,
      task: { name: 'fake', label: 'fake', options: { ...(typeof options === 'function' ? options(k) : options) } },
    }),
  );

export const fakeResult = (spec: RunSpec): RunResult => ({
  status: 'done',
  parameters: 100,
  stateBytes: 8,
  flopsPerToken: 200,
  seconds: 0.5,
  tokensPerSecond: 1000,
  steps: spec.training.steps,
  finalTrainLoss: 0.5,
  metrics: { 'validation/accuracy': 1 - spec.seed / 100, 'test/perplexity': Infinity },
  curve: [{ step: 1, loss: 0.7 }],
});

export const fakeTraining: TrainTask = async (spec, { signal, onProgress }) => {
  const { log, milliseconds = 0, breaks } = spec.task.options as FakeOptions;
  const note = (word: string) => log !== undefined && fs.appendFileSync(log, `${word} ${spec.name}\n`);
  note('begin');
  onProgress?.({ step: 1, steps: spec.training.steps, loss: 0.7, tokensPerSecond: 1000 });
  await wait(milliseconds, undefined, signal === undefined ? {} : { signal });
  switch (breaks) {
    case 'throws':
      throw new RangeError('lstm: heads must divide the width, got 4 heads of 10\nand a second line');
    case 'diskFull':
      throw new WriteError('cannot write the text: the disk is full', 'ENOSPC', 'text.bin', 1, null);
    case 'exit':
      process.stderr.write('a library said farewell\n');
      process.exit(3);
      break;
    case 'SIGKILL':
    case 'SIGTERM':
      process.kill(process.pid, breaks);
      await wait(200);
      break;
    case 'heap': {
      const hoard: number[][] = [];
      for (;;) hoard.push(Array.from({ length: 1e5 }, Math.random));
    }
  }
  note('end');
  return fakeResult(spec);
};

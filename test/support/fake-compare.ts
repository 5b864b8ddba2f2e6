/** @file A process that carries out a plan of runs that are not real ones, to be killed: <folder> <log> <runs> <jobs>. */
import { carryOut } from '../../src/experiments/runner.js';
import { fakePlan, fakeTraining } from './fake-training.js';

const [folder, log, runs, jobs] = process.argv.slice(2);
const controller = new AbortController();
process.on('SIGTERM', () => controller.abort(new Error('stopped')));
const { left } = await carryOut(folder!, fakePlan(Number(runs), { log: log!, milliseconds: 15 }), {
  jobs: Number(jobs),
  execute: fakeTraining,
  signal: controller.signal,
});
process.exitCode = left > 0 ? 130 : 0;

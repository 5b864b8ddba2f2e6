/** @file A worker process whose runs are not real ones. */
import { serveRun } from '../../src/experiments/run-worker.js';
import { fakeTraining } from './fake-training.js';

serveRun(fakeTraining);

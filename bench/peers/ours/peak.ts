/** @file What the cores that a contender is given can do at most, as a process like any other. */
import { createCpuDevice } from '../../../src/device/cpu/cpu.js';
import { measurePeak } from '../../peak.js';
import { readJob } from './job.js';

const { threads } = readJob();
createCpuDevice({ threads });
process.stdout.write(`${JSON.stringify(measurePeak(threads, 0.4))}\n`);

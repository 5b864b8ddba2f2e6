/** @file `npm run bench`: every bench of the CPU, each after it has proved its result right. */
import os from 'node:os';
import { execFileSync } from 'node:child_process';
import { createCpuDevice } from '../src/device/cpu/cpu.js';
import { benchMatmul } from './matmul.js';
import { benchMixers } from './mixers.js';
import { benchPacked } from './packed.js';
import { benchRecurrent } from './recurrent.js';
import { benchStep } from './step.js';

const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
console.log(
  `xlstm at ${commit}, ${createCpuDevice().info.description}, ${os.cpus().length} cores, Node ${process.versions.node}`,
);

await benchMatmul();
await benchPacked();
await benchRecurrent();
await benchStep();
await benchMixers({ svg: 'docs/plots' });

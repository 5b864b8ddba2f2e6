/** @file This project in the bench of WebGPU. */
import { createWebGpuDevice } from '../../../src/device/webgpu/webgpu.js';
import type { Contender } from '../contender.js';
import { contenderOn } from '../ours.js';

export const open = async (): Promise<Contender> => contenderOn(await createWebGpuDevice());

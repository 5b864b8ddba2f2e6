/** @file How many tokens of a prompt are read at once: it bounds the memory of a long prompt. */
import type { Device } from '../device/device.js';

/** A GPU needs about a thousand for its products to be bound by arithmetic, not by reading the weights. */
const ON_A_GPU = 1024;

/** Of a prompt that nothing else waits for: the CPU lays out every matrix anew for each part. */
export const PREFILL = 1024;

/** The same on `webgpu`, where no part may keep the display waiting. */
const PREFILL_ON_WEBGPU = PREFILL / 2;

export const promptTokensAtOnce = ({ name }: Device): number => (name === 'webgpu' ? PREFILL_ON_WEBGPU : PREFILL);

/**
 * The same where others wait.
 * @param elsewhere  as many on other devices than a GPU
 */
export const tokensAtOnce = ({ name }: Device, elsewhere: number): number => (name === 'cuda' ? ON_A_GPU : elsewhere);

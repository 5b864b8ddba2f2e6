/** @file How many tokens of a prompt are read at once: it bounds the memory of a long prompt. */
import type { Device } from '../device/device.js';

/** A GPU needs about a thousand for its products to be bound by arithmetic, not by reading the weights. */
const ON_A_GPU = 1024;

/**
 * Of a prompt that nothing else waits for. The CPU lays out every matrix anew for each part; on `webgpu` no part may keep
 * the display waiting.
 */
const PREFILL: Readonly<Record<string, number>> = { cpu: 2048, webgpu: 512 };

/** A multiple of all of them. */
export const WHOLE_PREFILLS = 4096;

export const promptTokensAtOnce = ({ name }: Device): number => PREFILL[name] ?? ON_A_GPU;

/**
 * The same where others wait.
 * @param elsewhere  as many on other devices than a GPU
 */
export const tokensAtOnce = ({ name }: Device, elsewhere: number): number => (name === 'cuda' ? ON_A_GPU : elsewhere);

/** @file How many tokens of a prompt are read at once: it bounds the memory of a long prompt. */
import type { Device } from '../device/device.js';

/** A GPU needs about a thousand for its products to be bound by arithmetic, not by reading the weights. */
const ON_A_GPU = 1024;

/** @param elsewhere  as many on other devices */
export const tokensAtOnce = ({ name }: Device, elsewhere: number): number => (name === 'cuda' ? ON_A_GPU : elsewhere);

/** @file Options that several mixers have. */
import * as z from 'zod';

/** @param of  what has a step size of its own: "channels" */
export const stepRange = (of: string) =>
  z
    .tuple([z.number().positive(), z.number().positive()])
    .default([1e-3, 0.1])
    .describe(`Initial step sizes of the ${of} lie between these, uniformly in their logarithm.`);

/** Options of mixers that say how long a sequence can be, or how far back they see. */
export const LENGTH_OPTIONS = ['window', 'maxLength', 'maxPositions'];

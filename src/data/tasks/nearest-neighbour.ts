/**
 * @file Nearest-neighbour search (arXiv 2405.04517 figure 2 and appendix B): the first vector is a search key; at each step
 * the model says the value of the vector nearest to it so far, so it has to revise what it stored.
 */
import * as z from 'zod';
import { fold } from '../../tensor/random.js';
import { defineTask, generatedSet } from './definition.js';
import type { Draws } from './draws.js';
import type { Example, Task } from './task.js';

const options = z.strictObject({
  trainSize: z.number().int().min(1).default(8192).describe('Sequences to train on.'),
  validationSize: z.number().int().min(1).default(8192).describe('Sequences to validate on.'),
  minLength: z.number().int().min(2).default(2).describe('Steps of the shortest sequence, search key included.'),
  maxLength: z.number().int().min(2).default(64).describe('Steps of the longest sequence; lengths are uniform.'),
});

type Options = z.output<typeof options>;

/** Each step is (feature, value): two numbers on the unit circle and one in [0,1). */
const WIDTH = 3;

/** Step 0 is the key, whose value is 0 and of which nothing is asked. Step t is asked for the value nearest among 1..t. */
function drawExample(draws: Draws, { minLength, maxLength }: Options): Example {
  const T = draws.between(minLength, maxLength);
  const vectors = new Float32Array(T * WIDTH);
  const values = new Float32Array(T);
  const valueMask = new Uint8Array(T).fill(1, 1);
  let [nearest, best] = [-Infinity, 0];
  for (let t = 0; t < T; t++) {
    const angle = 2 * Math.PI * draws.uniform();
    vectors.set([Math.cos(angle), Math.sin(angle), t === 0 ? 0 : draws.uniform()], t * WIDTH);
    if (t === 0) continue;
    // Of vectors of length 1 the nearest has the largest inner product.
    const [x, y, value] = vectors.subarray(t * WIDTH) as unknown as [number, number, number];
    const closeness = x * vectors[0]! + y * vectors[1]!;
    if (closeness > nearest) [nearest, best] = [closeness, value];
    values[t] = best;
  }
  return { T, vectors, values, valueMask };
}

function create(chosen: Options): Task {
  const { minLength, maxLength, trainSize, validationSize } = chosen;
  if (minLength > maxLength) {
    throw new RangeError(`nearestNeighbour: minLength must not be above maxLength, got ${minLength} and ${maxLength}`);
  }
  const make = (draws: Draws): Example => drawExample(draws, chosen);
  return {
    name: 'nearestNeighbour',
    input: { kind: 'vectors', width: WIDTH },
    output: { kind: 'values', width: 1 },
    maxLength,
    chance: null,
    train: (key) => generatedSet('train', trainSize, key, make),
    validation: (key) => generatedSet('validation', validationSize, key, make),
    tests: (key) => [generatedSet('test', validationSize, fold(key, 'test'), make)],
    draw: ({ T, vectors, values }) => {
      const rows = Array.from({ length: T }, (_, t) => {
        const [x, y, value] = vectors!.subarray(t * WIDTH) as unknown as [number, number, number];
        const feature = `(${x.toFixed(2)}, ${y.toFixed(2)})`;
        return t === 0 ? `key ${feature}` : `${feature} has ${value.toFixed(2)}  ->  ${values![t]!.toFixed(2)}`;
      });
      return rows.join('\n');
    },
  };
}

export const nearestNeighbourTask = defineTask({
  name: 'nearestNeighbour',
  summary: 'the value of the vector nearest to a search key so far, revised step by step (arXiv 2405.04517 fig. 2)',
  options,
  presets: { paper: {}, small: { validationSize: 1024 } },
  create,
});

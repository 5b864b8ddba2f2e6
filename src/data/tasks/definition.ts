/** @file What a file with a task in it exports: options with their meanings, presets, and how a task is made of them. */
import type * as z from 'zod';
import { fold, type RandomKey } from '../../tensor/random.js';
import { Draws } from './draws.js';
import type { Example, ExampleSet, Task } from './task.js';

export interface TaskDefinition<Options extends z.ZodObject = z.ZodObject> {
  /** As configurations call it: lower camel case. */
  readonly name: string;
  /** What it asks, in one line, with its source. */
  readonly summary: string;
  /** What it reads from disk, where it is not made from a key alone. */
  readonly files?: string;
  /** Every option with default and description, so that `{}` is a complete configuration. */
  readonly options: Options;
  /** Options by name: the published settings, and smaller ones. */
  readonly presets: Readonly<Record<'paper' | 'small', z.input<Options>>>;
  /** @throws RangeError when options do not fit each other. */
  create(options: z.output<Options>): Task;
}

/** Types a definition. */
export const defineTask = <Options extends z.ZodObject>(definition: TaskDefinition<Options>): TaskDefinition<Options> =>
  definition;

/** A set whose example n comes from draws of the set's key and n. */
export const generatedSet = (
  name: string,
  size: number,
  key: RandomKey,
  make: (draws: Draws) => Example,
): ExampleSet => ({ name, size, example: (index) => make(new Draws(fold(key, index))) });

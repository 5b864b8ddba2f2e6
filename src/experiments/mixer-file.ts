/**
 * @file Loads a file whose default export is a mixer of a user's own, TypeScript or JavaScript, and makes it known to the
 * registry. It does not check the mixer; `check-mixer.ts` does.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import module from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import * as z from 'zod';
import type { MixerDefinition } from '../mixers/definition.js';
import { findMixer, isCustomMixer, registerMixer } from '../mixers/registry.js';
import type { RunSpec } from './run-spec.js';
import * as hooks from './mixer-hooks.js';

export interface LoadedMixerFile {
  /** Absolute path. */
  readonly file: string;
  /** Of its content; what it imports is not in it. */
  readonly sha256: string;
  readonly definition: MixerDefinition;
}

const FEED_FORWARD = ['none', 'layer', 'channelMix', 'plainChannelMix'];
const EXAMPLE = 'export default defineMixer({ name, summary, options, feedForward, create })';

let hooked = false;

/** From Node 22.15 on hooks run beside the program; before, on a thread of their own. */
function addHooks(): void {
  if (hooked) return;
  hooked = true;
  const extension = path.extname(import.meta.url); // .js, or .ts where this program runs from its sources
  const data: hooks.HookData = {
    xlstm: new URL(`../index${extension}`, import.meta.url).href,
    zod: import.meta.resolve('zod'),
  };
  process.setSourceMapsEnabled(true);
  const { registerHooks } = module as { registerHooks?: (hooks: object) => void };
  if (registerHooks === undefined) module.register(`./mixer-hooks${extension}`, import.meta.url, { data });
  else {
    hooks.initialize(data);
    registerHooks({ resolve: hooks.resolve, load: hooks.load });
  }
}

/**
 * Loads a mixer and registers it by its name.
 * @param file  .ts, .mts, .js or .mjs
 * @throws Error that says what is wrong with the file; RangeError when its name is one of the library's.
 */
export async function loadMixerFile(file: string): Promise<LoadedMixerFile> {
  const absolute = path.resolve(file);
  let content: Buffer;
  try {
    content = readFileSync(absolute);
  } catch (error) {
    throw new Error(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`, {
      cause: error,
    });
  }
  if (!/\.m?[jt]s$/.test(absolute)) throw new Error(`${file}: a mixer is a .ts, .mts, .js or .mjs file`);
  addHooks();
  let exported: { default?: unknown };
  try {
    exported = (await import(pathToFileURL(absolute).href)) as { default?: unknown };
  } catch (error) {
    throw new Error(`${file}: cannot be loaded: ${(error as Error).message}`, { cause: error });
  }
  const definition = checkDefinition(exported.default, file);
  const known = findMixer(definition.name);
  if (known !== undefined && known !== definition && isCustomMixer(definition.name)) {
    throw new RangeError(`${file}: another file has a mixer "${definition.name}" too; give one of them another name`);
  }
  try {
    registerMixer(definition);
  } catch (error) {
    throw new RangeError(`${file}: ${(error as Error).message}`, { cause: error });
  }
  return { file: absolute, sha256: createHash('sha256').update(content).digest('hex'), definition };
}

/**
 * Loads the mixers of a run.
 * @throws Error when a file is another one than when the run was planned: its result would have the wrong name.
 */
export async function registerRunMixers(files: RunSpec['mixerFiles']): Promise<void> {
  for (const { file, sha256 } of files) {
    const loaded = await loadMixerFile(file);
    if (loaded.sha256 !== sha256)
      throw new Error(`${file}: has changed since the run was planned; start the comparison again`);
  }
}

function checkDefinition(value: unknown, file: string): MixerDefinition {
  if (typeof value !== 'object' || value === null) {
    throw new Error(`${file}: has no mixer as its default export; write ${EXAMPLE}`);
  }
  const { name, summary, options, feedForward, create } = value as Record<string, unknown>;
  const wrong = [
    typeof name === 'string' ? null : 'name must be a text',
    typeof summary === 'string' ? null : 'summary must be a text: what it is, in one line',
    options instanceof z.ZodObject ? null : 'options must be a z.strictObject({...}) with a default for every field',
    FEED_FORWARD.includes(feedForward as string) ? null : `feedForward must be one of ${FEED_FORWARD.join(', ')}`,
    typeof create === 'function' ? null : 'create must be a function (options, place) => mixer',
  ].filter((reason) => reason !== null);
  if (wrong.length > 0) throw new Error(`${file}: its default export is no mixer: ${wrong.join('; ')}`);
  const definition = value as MixerDefinition;
  const withDefaults = definition.options.safeParse({});
  if (!withDefaults.success) {
    const fields = withDefaults.error.issues.map((issue) => issue.path.join('.')).join(', ');
    throw new Error(`${file}: options without a default: ${fields}; \`{}\` must be a complete configuration`);
  }
  return definition;
}

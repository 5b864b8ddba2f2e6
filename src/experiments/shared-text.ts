/**
 * @file The tokens of a text, made once for all runs of a comparison: the first run that needs them makes them, others that
 * come meanwhile wait. Which part is held out does not depend on the seed of a run.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { listSourceFiles } from '../data/source-files.js';
import { explainWriteFailure, makeFolder } from '../model/disk.js';
import { writeFolderAtomically } from '../train/atomic-folder.js';
import type { RunConfig } from '../train/config.js';
import { openRunData, prepareRunData, type RunData } from '../train/run-data.js';
import { lockFolder, LockedError } from './folder-lock.js';

const LOOK_AGAIN_MILLISECONDS = 200;

/**
 * The data of a run, made in `folder` if it is not there yet.
 * @param folder  for the texts of a comparison; files that have changed since make their text anew
 * @throws Error naming the file at fault, WriteError when the disk refuses.
 */
export async function sharedRunData(config: RunConfig, folder: string): Promise<RunData> {
  const own = path.join(folder, await keyOf(config));
  const ready = path.join(own, 'text');
  try {
    makeFolder(own);
  } catch (error) {
    throw explainWriteFailure(error, 'the tokens of the text', own, undefined, 'nothing was begun');
  }
  while (!fs.existsSync(ready)) {
    const lock = tryLock(own);
    if (lock === null) {
      await wait(LOOK_AGAIN_MILLISECONDS);
      continue;
    }
    try {
      if (!fs.existsSync(ready)) await make(config, ready);
    } finally {
      lock[Symbol.dispose]();
    }
  }
  return openRunData(config, ready);
}

async function make(config: RunConfig, target: string): Promise<void> {
  const sameForAll = { ...config, training: { ...config.training, seed: 0 } };
  const fill = async (temporary: string) => (await prepareRunData(sameForAll, temporary, {})).close();
  await writeFolderAtomically(target, fill, 'the tokens of the text');
}

function tryLock(folder: string): Disposable | null {
  try {
    return lockFolder(folder, 'the text');
  } catch (error) {
    if (error instanceof LockedError) return null;
    throw error;
  }
}

/** Equal for runs that read the same text in the same way. */
async function keyOf({ data }: RunConfig): Promise<string> {
  const { field, tokenizer, vocabSize, validationFraction, splitBy } = data;
  const files = (await listSourceFiles(data.files)).map((file) => {
    const { size, mtimeMs } = fs.statSync(file.path);
    return [path.resolve(file.path), size, mtimeMs];
  });
  const decisive = JSON.stringify([files, field, tokenizer, vocabSize, validationFraction, splitBy]);
  return createHash('sha256').update(decisive).digest('hex').slice(0, 16);
}

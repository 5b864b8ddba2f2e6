/**
 * @file Folders that are there whole or not at all: written beside their place, fsynced, renamed; and which ones to keep.
 * It does not know what is in them.
 */
import fs from 'node:fs';
import path from 'node:path';
import {
  cleanLeftovers,
  explainWriteFailure,
  makeFolder,
  removeQuietly,
  replacedName,
  syncFolder,
  syncPath,
  temporaryName,
  WriteError,
} from '../model/disk.js';

export { cleanLeftovers, WriteError };

/**
 * Lets `fill` write files into a temporary folder beside `folder`, makes them durable and renames the folder into
 * place. A process killed at any moment leaves the old `folder` or the new one, and perhaps a leftover that the next
 * call (or `cleanLeftovers`) removes.
 *
 * @param folder  path of the folder; its parent is created. An existing folder is replaced.
 * @param fill    writes into the folder whose path it gets; files and subfolders.
 * @param what    what it is, for the sentence of an error.
 * @throws WriteError if the disk refuses (full, read-only, no permission), in one sentence; the temporary folder is
 *   removed. An error of `fill` that is not the disk's comes through unchanged.
 */
export async function writeFolderAtomically(
  folder: string,
  fill: (temporary: string) => void | Promise<void>,
  what = 'the checkpoint',
): Promise<void> {
  const parent = path.dirname(folder);
  const target = path.join(parent, path.basename(folder)); // no slash at the end
  const temporary = temporaryName(target);
  try {
    makeFolder(parent);
    cleanLeftovers(parent, path.basename(target));
    fs.mkdirSync(temporary);
    await fill(temporary);
    syncTree(temporary);
    moveIntoPlace(temporary, target);
    syncFolder(parent);
  } catch (error) {
    const written = bytesIn(temporary) + (error instanceof WriteError ? (error.bytes ?? 0) : 0);
    removeQuietly(temporary);
    const cause = error instanceof WriteError ? error.cause : error;
    throw explainWriteFailure(cause, what, target, written === 0 ? undefined : written, whatStands(target, what));
  }
}

/** A rename cannot replace a folder that has files: the old one steps aside first and comes back if the new one fails. */
function moveIntoPlace(temporary: string, target: string): void {
  if (!fs.existsSync(target)) {
    fs.renameSync(temporary, target);
    return;
  }
  const replaced = replacedName(target);
  fs.renameSync(target, replaced);
  try {
    fs.renameSync(temporary, target);
  } catch (error) {
    fs.renameSync(replaced, target);
    throw error;
  }
  removeQuietly(replaced);
}

function syncTree(folder: string): void {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) syncTree(file);
    else syncPath(file);
  }
  syncFolder(folder);
}

function bytesIn(folder: string): number {
  try {
    return fs
      .readdirSync(folder, { withFileTypes: true, recursive: true })
      .reduce(
        (sum, entry) => sum + (entry.isFile() ? fs.statSync(path.join(entry.parentPath, entry.name)).size : 0),
        0,
      );
  } catch {
    return 0;
  }
}

/** What a failed write did not touch, for the end of its sentence. */
function whatStands(target: string, what: string): string {
  const last = fs.existsSync(target) ? path.basename(target) : listSteps(path.dirname(target)).at(-1);
  return last === undefined ? 'nothing was there before' : `the previous ${what.replace(/^the /, '')} (${last}) stands`;
}

/** The steps for which `folder` has a subfolder whose name is that number, ascending. */
export function listSteps(folder: string): number[] {
  if (!fs.statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
  return fs
    .readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && /^(0|[1-9]\d*)$/.test(entry.name))
    .map((entry) => Number(entry.name))
    .sort((a, b) => a - b);
}

/**
 * Removes all checkpoints of `folder` (subfolders named by their step) but the last `count` and those in `protect`.
 * A folder leaves its name before its files go: a kill in between leaves no half checkpoint behind.
 *
 * @returns the removed steps.
 * @throws RangeError unless count is an integer of at least 1.
 */
export function keepLast(folder: string, count: number, protect: Iterable<number> = []): number[] {
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new RangeError(
      `keepLast: count must be an integer of at least 1, got ${count}; the last checkpoint is needed to resume`,
    );
  }
  const keep = new Set(protect);
  const removed = listSteps(folder)
    .slice(0, -count)
    .filter((step) => !keep.has(step));
  for (const step of removed) {
    const target = path.join(folder, String(step));
    const leaving = temporaryName(target);
    fs.rmSync(leaving, { recursive: true, force: true });
    fs.renameSync(target, leaving);
    fs.rmSync(leaving, { recursive: true, force: true });
  }
  return removed;
}

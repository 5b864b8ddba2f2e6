/**
 * @file A lock on a folder, so that two commands do not work in it at once. It outlives no process: the lock of one that
 * was killed is taken over. It does not hold against a process on another machine that ignores it.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { explainWriteFailure } from '../model/disk.js';

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process began, in the system's own terms: numbers of processes are given out again. Empty: not known. */
  readonly began: string;
}

/** Another process holds the lock. */
export class LockedError extends Error {
  override readonly name = 'LockedError';
}

export interface FolderLock extends Disposable {
  readonly file: string;
}

/**
 * Takes the lock `.lock` in a folder.
 * @param what  what the folder is, for the message: "this comparison"
 * @throws LockedError naming the process that holds it, WriteError when the disk refuses.
 */
export function lockFolder(folder: string, what: string): FolderLock {
  const file = path.join(folder, '.lock');
  const mine: Holder = { pid: process.pid, host: os.hostname(), began: beginOf(process.pid) };
  for (let attempt = 0; attempt < 10; attempt++) {
    if (tryLock(file, mine)) return { file, [Symbol.dispose]: () => release(file, mine) };
    const holder = read(file);
    if (holder === null) continue; // it was given back meanwhile
    if (holder.host !== mine.host) {
      throw new LockedError(
        `${folder}: ${what} is being worked on by process ${holder.pid} on ${holder.host}; ` +
          `if that is not so any more, remove ${file}`,
      );
    }
    if (isAlive(holder)) {
      throw new LockedError(
        `${folder}: ${what} is being worked on by process ${holder.pid}; wait for it or choose another --out`,
      );
    }
    removeStale(file, holder);
  }
  throw new LockedError(`${file}: the lock changes hands all the time; try again`);
}

/** Written whole under another name and linked into place: a lock file is never seen half written. */
function tryLock(file: string, mine: Holder): boolean {
  const draft = `${file}.${mine.pid}`;
  try {
    fs.writeFileSync(draft, JSON.stringify(mine));
    fs.linkSync(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw explainWriteFailure(error, 'the lock', file, undefined, 'nothing was begun');
  } finally {
    fs.rmSync(draft, { force: true });
  }
}

/** The lock steps aside first: when it is another one than was seen, it goes back. */
function removeStale(file: string, seen: Holder): void {
  const aside = `${file}.stale-${process.pid}`;
  try {
    fs.renameSync(file, aside);
  } catch {
    return; // somebody else was faster
  }
  const found = read(aside);
  if (found !== null && JSON.stringify(found) !== JSON.stringify(seen)) {
    try {
      fs.linkSync(aside, file);
    } catch {
      // a third one has it by now
    }
  }
  fs.rmSync(aside, { force: true });
}

function release(file: string, mine: Holder): void {
  if (JSON.stringify(read(file)) === JSON.stringify(mine)) fs.rmSync(file, { force: true });
}

function read(file: string): Holder | null {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) as Holder;
  } catch (error) {
    // A damaged one holds nobody off.
    return fs.existsSync(file) && error instanceof SyntaxError ? { pid: 0, host: os.hostname(), began: '' } : null;
  }
}

function isAlive({ pid, began }: Holder): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0); // signal 0 only asks
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return began === '' || began === beginOf(pid);
}

/** Boot of the machine and start of the process within it, on Linux; empty elsewhere. */
function beginOf(pid: number): string {
  try {
    const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The 22nd field; the second one, the name in brackets, may hold blanks.
    return `${boot} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]!}`;
  } catch {
    return '';
  }
}

/**
 * @file Writing to disk so that it holds: whole buffers, fsync, and failures as one clear sentence.
 * It does not know what is written; `safetensors.ts` and `../train/atomic-folder.ts` do.
 */
import fs from 'node:fs';
import path from 'node:path';
import { formatBytes } from '../format.js';

/** What went wrong, for a person, and what the person can do. */
const REASONS: Readonly<Record<string, readonly [reason: string, next: string]>> = {
  ENOSPC: ['the disk is full', 'free space or choose a folder on another disk'],
  EDQUOT: ['your disk quota is used up', 'free space or choose a folder on another disk'],
  EFBIG: ['the file would be larger than this file system or `ulimit -f` allows', 'choose a folder on another disk'],
  EACCES: ['permission denied', 'change the permissions or choose a folder that you may write to'],
  EPERM: ['the operation is not permitted', 'change the permissions or choose a folder that you may write to'],
  EROFS: ['the file system is read-only', 'choose a folder that you may write to'],
  ENOTDIR: ['a part of the path is a file, not a folder', 'choose another folder'],
  EEXIST: ['something else is there already', 'remove it or choose another name'],
  ENOENT: ['the folder does not exist', 'create it or choose another one'],
  EIO: ['the disk reported an input/output error', 'check the disk, and choose a folder on another one'],
};

/** The disk refused. `code` is the system's word (ENOSPC), `path` what could not be written, `bytes` how much it is. */
export class WriteError extends Error {
  override readonly name = 'WriteError';
  readonly code: string;
  readonly path: string;
  readonly bytes: number | undefined;

  constructor(message: string, code: string, file: string, bytes: number | undefined, cause: unknown) {
    super(message, { cause });
    this.code = code;
    this.path = file;
    this.bytes = bytes;
  }
}

/** The system's code of an error (ENOSPC), also when it was wrapped in a WriteError; undefined if it has none. */
export function errorCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/**
 * A failure of the file system as one sentence: what could not be written, how much, why, and what still stands.
 * Any other error (a bug, an abort) comes back as it is.
 *
 * @param what    what was to be written, with its article: "the checkpoint".
 * @param file    its path.
 * @param bytes   how much was to be written; left out of the sentence when not known.
 * @param stands  what is not lost: "the previous checkpoint stands".
 */
export function explainWriteFailure(
  error: unknown,
  what: string,
  file: string,
  bytes: number | undefined,
  stands: string,
): unknown {
  const code = errorCode(error);
  const entry = code === undefined ? undefined : REASONS[code];
  if (code === undefined || entry === undefined) return error;
  const [reason, next] = entry;
  const size = bytes === undefined ? '' : ` (${formatBytes(bytes)})`;
  const free = code === 'ENOSPC' ? freeBytes(file) : undefined;
  const detail = free === undefined ? code : `${code}, ${formatBytes(free)} free`;
  return new WriteError(
    `cannot write ${what} ${file}${size}: ${reason} (${detail}); ${next}; ${stands}`,
    code,
    file,
    bytes,
    error,
  );
}

/** Bytes that this process may still write on the disk of `file`; undefined where the system does not say. */
function freeBytes(file: string): number | undefined {
  try {
    const { bavail, bsize } = fs.statfsSync(path.dirname(path.resolve(file)));
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

/**
 * Makes a folder and the folders above it that are missing, one by one: the recursive call of Node never comes back
 * where the system answers a mkdir with ENOENT (below /proc), and hides why a read-only disk refuses.
 * @throws Error of the file system, of the folder that could not be made.
 */
export function makeFolder(folder: string): void {
  const whole = path.resolve(folder);
  const missing: string[] = [];
  for (let at = whole; !fs.existsSync(at) && at !== path.dirname(at); at = path.dirname(at)) missing.unshift(at);
  for (const part of missing) {
    try {
      fs.mkdirSync(part);
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error; // another process may have made it meanwhile
    }
  }
  if (!fs.statSync(whole).isDirectory()) fs.mkdirSync(whole); // fails, and says why
}

/** At most this much goes to the system in one call. */
const WRITE_CHUNK = 1 << 26;

/** Writes all of `bytes` at the end of what was written: a single call may write less than it was given. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.byteLength;) {
    done += fs.writeSync(fd, bytes, done, Math.min(bytes.byteLength - done, WRITE_CHUNK));
  }
}

/** Makes the names in a folder durable: without it a rename may be lost in a power cut. */
export function syncFolder(folder: string): void {
  syncPath(folder);
}

/** Makes the bytes of a file, or the names in a folder, durable. */
export function syncPath(file: string): void {
  const fd = fs.openSync(file, 'r');
  try {
    fs.fsyncSync(fd);
  } catch (error) {
    if (errorCode(error) !== 'EINVAL') throw error; // a file system that cannot sync a folder says so
  } finally {
    fs.closeSync(fd);
  }
}

/** The name under which something is written before it takes its place. */
export function temporaryName(target: string): string {
  return `${target}.tmp-${process.pid}`;
}

/** The name under which the old content waits while the new one takes its place. */
export function replacedName(target: string): string {
  return `${target}.old-${process.pid}`;
}

/**
 * Writes a file beside its place, makes it durable and renames it into place: a reader, or a process killed at any
 * moment, sees the old file or the new one.
 *
 * @param content  all of it, or pieces, which are not all in memory at once
 * @param what     what it is, with its article, for the sentence of an error: "the report".
 * @throws WriteError if the disk refuses; the old file stands.
 */
export function writeFileWhole(file: string, content: string | Uint8Array | Iterable<Uint8Array>, what: string): void {
  const whole = typeof content === 'string' ? Buffer.from(content) : content instanceof Uint8Array ? content : null;
  const temporary = temporaryName(file);
  try {
    cleanLeftovers(path.dirname(file), path.basename(file));
    const fd = fs.openSync(temporary, 'w');
    try {
      for (const piece of whole === null ? (content as Iterable<Uint8Array>) : [whole]) writeAll(fd, piece);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(temporary, file);
  } catch (error) {
    removeQuietly(temporary);
    const stands = fs.existsSync(file) ? 'the previous file stands' : 'no file was left';
    throw explainWriteFailure(error, what, file, whole?.byteLength, stands);
  }
  syncFolder(path.dirname(file));
}

/** Removes a file or folder on the way out of a failure, whose own error must not be covered by another one. */
export function removeQuietly(file: string): void {
  try {
    fs.rmSync(file, { recursive: true, force: true });
  } catch {
    // `cleanLeftovers` tries again later
  }
}

const LEFTOVER = /^(.+)\.(tmp|old)-([1-9]\d*)$/;

/**
 * Cleans up after processes that were killed while they wrote into `folder`: unfinished files and folders are removed;
 * an old folder whose successor never took its place is put back. What a living process writes is left alone.
 *
 * @param only  clean up for this one name; without it, for all names in the folder.
 * @returns the names that were removed or put back.
 */
export function cleanLeftovers(folder: string, only?: string): string[] {
  if (!fs.existsSync(folder)) return [];
  const found = fs.readdirSync(folder).flatMap((name) => {
    const match = LEFTOVER.exec(name);
    if (!match || (only !== undefined && match[1] !== only) || runsElsewhere(Number(match[3]))) return [];
    return [{ name, target: match[1]!, isOld: match[2] === 'old' }];
  });
  for (const { name, target, isOld } of found) {
    const from = path.join(folder, name);
    const to = path.join(folder, target);
    if (isOld && !fs.existsSync(to)) fs.renameSync(from, to);
    else fs.rmSync(from, { recursive: true, force: true });
  }
  return found.map(({ name }) => name);
}

/** Whether another living process has this number. This process has nothing unfinished when it cleans up. */
function runsElsewhere(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0); // signal 0 only asks
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

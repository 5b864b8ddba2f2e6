/**
 * @file What is remembered of a self-test that a device passed, in the user's cache folder, so that it runs once per
 * device, driver, library and version. Only a pass is kept. A cache that cannot be read or written is as none.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { packageVersion } from '../../package-version.js';
import type { Device } from '../device.js';
import type { SelftestResult } from './selftest.js';

export interface Proof {
  /** When the test ended, as an ISO date with the time. */
  readonly tested: string;
  /** Cases that agree with the reference. */
  readonly cases: number;
}

/** Where this user's programs keep what they can make again. */
export function cacheFolder(
  env: Readonly<Record<string, string | undefined>> = process.env,
  platform: NodeJS.Platform = process.platform,
): string {
  const home = os.homedir();
  const given = platform === 'win32' ? env['LOCALAPPDATA'] : env['XDG_CACHE_HOME'];
  // A relative path is to be ignored, says the specification of XDG.
  if (given !== undefined && path.isAbsolute(given)) return path.join(given, 'xlstm');
  if (platform === 'win32') return path.join(home, 'AppData', 'Local', 'xlstm');
  return path.join(home, ...(platform === 'darwin' ? ['Library', 'Caches'] : ['.cache']), 'xlstm');
}

/** The test of this very device that was passed, or null. */
export function readProof(device: Device): Proof | null {
  try {
    const { tested, cases } = JSON.parse(fs.readFileSync(fileOf(device), 'utf8')) as Partial<Proof>;
    if (typeof tested !== 'string' || Number.isNaN(Date.parse(tested)) || typeof cases !== 'number') return null;
    return { tested, cases };
  } catch {
    return null;
  }
}

/**
 * Remembers that all of a device's kernels were tested, or forgets what is known of it where one is wrong.
 * @param results  of a self-test of all kernels
 */
export function keepProof(device: Device, results: readonly SelftestResult[]): void {
  try {
    const file = fileOf(device);
    if (results.some(({ ok }) => !ok)) return fs.rmSync(file, { force: true });
    const cases = results.filter(({ skipped }) => skipped === undefined).length;
    const proof: Proof = { tested: new Date().toISOString(), cases };
    fs.mkdirSync(path.dirname(file), { recursive: true });
    // Renamed, so that another process never reads half of it.
    const part = `${file}.${process.pid}`;
    fs.writeFileSync(part, `${JSON.stringify({ ...proof, device: device.info.description })}\n`);
    fs.renameSync(part, file);
  } catch {
    // Then the next one tests again.
  }
}

/** Named by all that the outcome depends on. @throws Error when the library cannot be read. */
function fileOf({ name, info: { description, library } }: Device): string {
  const hash = createHash('sha256').update(JSON.stringify([name, description, packageVersion()]));
  if (library !== undefined) hash.update(fs.readFileSync(library));
  return path.join(cacheFolder(), 'selftest', `${name}-${hash.digest('hex').slice(0, 32)}.json`);
}

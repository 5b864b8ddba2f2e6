/** @file What is remembered of a self-test, and the test before the first use of a GPU, on devices that are none. */
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Device, DeviceInfo } from '../../src/device/device.js';
import type { DeviceOptions } from '../../src/device/open.js';
import { openProven } from '../../src/device/open-proven.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { cacheFolder, keepProof, readProof } from '../../src/device/selftest/proof.js';
import { prove } from '../../src/device/selftest/prove.js';
import type * as Selftest from '../../src/device/selftest/selftest.js';
import { selftest } from '../../src/device/selftest/selftest.js';
import { temporaryFolder } from '../support/folders.js';

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
  vi.stubEnv('XDG_CACHE_HOME', path.join(folder, 'cache'));
  vi.stubEnv('LOCALAPPDATA', path.join(folder, 'cache'));
  vi.stubEnv('XLSTM_SKIP_SELFTEST', '');
});
afterEach(() => vi.unstubAllEnvs());

const library = (content: string): string => {
  const file = path.join(folder, 'lib.so');
  fs.writeFileSync(file, content);
  return file;
};

/** A device that says it is a GPU; its `fill` may be wrong. */
function gpu(info: Partial<DeviceInfo> = {}, isWrong = false): Device {
  const device = createReferenceDevice();
  const fill = isWrong ? () => {} : device.kernels.fill;
  const about = { description: 'a GPU, driver 1', threads: 1, library: info.library ?? library('kernels') };
  return { ...device, name: 'cuda', info: { ...about, ...info }, kernels: { ...device.kernels, fill } };
}

// A self-test of one kernel.
vi.mock('../../src/device/selftest/selftest.js', async (original) => {
  const whole = await original<typeof Selftest>();
  let solved: Promise<Selftest.SolvedCase[]> | undefined;
  const ofFill = async (device: Device, reference: Device) =>
    whole.checkCases(device, await (solved ??= whole.solveCases(reference, ['fill'])));
  return { ...whole, selftest: ofFill };
});
const fills = (device: Device) => selftest(device, createReferenceDevice());

vi.mock('../../src/device/open.js', async (original) => ({
  ...(await original<object>()),
  openDevice: (_: unknown, { index }: DeviceOptions) => (index === undefined ? createReferenceDevice() : gpu({}, true)),
}));

describe('the cache folder', () => {
  it('is the one of the system', () => {
    expect(cacheFolder({ XDG_CACHE_HOME: '/cache' }, 'linux')).toBe('/cache/xlstm');
    expect(cacheFolder({ XDG_CACHE_HOME: 'relative' }, 'linux')).toMatch(/^\/.*\/\.cache\/xlstm$/);
    expect(cacheFolder({}, 'darwin')).toMatch(/Library\/Caches\/xlstm$/);
    expect(cacheFolder({ XDG_CACHE_HOME: '/cache' }, 'win32')).toMatch(/AppData.Local.xlstm$/);
    expect(cacheFolder({ LOCALAPPDATA: '/local' }, 'win32')).toBe('/local/xlstm');
  });
});

describe('a test that was passed', () => {
  it('is known of that device, driver and library alone', async () => {
    const device = gpu();
    expect(readProof(device)).toBeNull();
    const results = await fills(device);
    keepProof(device, results);
    expect(readProof(gpu())).toMatchObject({ cases: results.length });
    expect(Date.now() - Date.parse(readProof(device)!.tested)).toBeLessThan(60_000);
    expect(readProof(gpu({ description: 'a GPU, driver 2' }))).toBeNull();
    expect(readProof(gpu({ library: library('other kernels') }))).toBeNull();
    expect(readProof({ ...gpu(), name: 'cpu' })).toBeNull();
  });

  it('is forgotten when the next one fails', async () => {
    keepProof(gpu(), await fills(gpu()));
    keepProof(gpu(), await fills(gpu({}, true)));
    expect(readProof(gpu())).toBeNull();
  });

  it('counts as none where the cache is damaged, cannot be written or the library is gone', async () => {
    keepProof(gpu(), await fills(gpu()));
    const kept = path.join(cacheFolder(), 'selftest');
    const [name] = fs.readdirSync(kept);
    for (const damage of ['', '{"tested":', '{"tested":"never","cases":1}', 'null']) {
      fs.writeFileSync(path.join(kept, name!), damage);
      expect(readProof(gpu()), damage).toBeNull();
    }
    const gone = gpu({ library: path.join(folder, 'gone.so') });
    keepProof(gone, []);
    expect(readProof(gone)).toBeNull();
    fs.rmSync(cacheFolder(), { recursive: true });
    fs.writeFileSync(cacheFolder(), 'a file where a folder should be');
    keepProof(gpu(), []);
    expect(readProof(gpu())).toBeNull();
  });
});

describe('the first use', () => {
  const use = async (device: Device) => {
    let told = '';
    await prove(device, (text) => (told += text));
    return told;
  };

  it('runs the self-test once and says so in one line', async () => {
    expect(await use(gpu())).toMatch(
      /^cuda: first use of a GPU, driver 1: testing its kernels, once \(up to a minute\) \.\.\. (\d+) of \1 cases agree, \d+\.\d s\n$/,
    );
    expect(await use(gpu())).toBe('');
    expect(await use(gpu({ description: 'a GPU, driver 2' }))).not.toBe('');
  });

  it('is refused each time, naming the kernels that are wrong and the ways out', async () => {
    const wrong = gpu({}, true);
    for (let k = 0; k < 2; k++)
      await expect(use(wrong)).rejects.toThrow(
        /kernels are wrong on this machine: fill \(fill .*--device cpu.*XLSTM_SKIP_SELFTEST/,
      );
  });

  it('is left alone where the variable says so', async () => {
    vi.stubEnv('XLSTM_SKIP_SELFTEST', '1');
    expect(await use(gpu({}, true))).toBe('');
  });

  it('is of a GPU alone, and part of opening it to work', async () => {
    const told = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    expect((await openProven('reference')).name).toBe('reference');
    expect(told).not.toHaveBeenCalled();
    await expect(openProven('cuda', { index: 0 })).rejects.toThrow('wrong on this machine: fill');
    told.mockRestore();
  });
});

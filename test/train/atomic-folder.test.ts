import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  cleanLeftovers,
  keepLast,
  listSteps,
  WriteError,
  writeFolderAtomically,
} from '../../src/train/atomic-folder.js';
import { writeSafetensors } from '../../src/model/safetensors.js';
import { canMount, smallDisk, systemError, temporaryFolder } from '../support/folders.js';

afterEach(() => vi.restoreAllMocks());

/** A number that no process has: above the highest that Linux gives. */
const DEAD = 999_999_999;

const put = (name: string, text: string) => (folder: string) => fs.writeFileSync(path.join(folder, name), text);
const get = (...names: string[]) => fs.readFileSync(path.join(...names), 'utf8');

describe('writeFolderAtomically', () => {
  it('shows nothing before it is whole, then everything', async () => {
    const parent = path.join(temporaryFolder(), 'run', 'checkpoints');
    await writeFolderAtomically(path.join(parent, '100'), async (folder) => {
      fs.mkdirSync(path.join(folder, 'deep'));
      put('deep/a', 'x')(folder);
      await Promise.resolve();
      expect(listSteps(parent)).toEqual([]);
      expect(fs.readdirSync(parent)).toEqual([`100.tmp-${process.pid}`]);
    });
    expect(fs.readdirSync(parent)).toEqual(['100']);
    expect(get(parent, '100', 'deep', 'a')).toBe('x');
  });

  it('syncs each file, each folder and the parent before and after the rename', async () => {
    const parent = temporaryFolder();
    const events: string[] = [];
    const names = new Map<number, string>();
    const { openSync, fsyncSync, renameSync } = fs;
    vi.spyOn(fs, 'openSync').mockImplementation((file, ...rest) => {
      const fd = openSync(file, ...rest);
      names.set(fd, path.relative(parent, String(file)).replace(`.tmp-${process.pid}`, '~') || 'parent');
      return fd;
    });
    vi.spyOn(fs, 'fsyncSync').mockImplementation((fd) => {
      fsyncSync(fd);
      events.push(names.get(fd)!);
    });
    vi.spyOn(fs, 'renameSync').mockImplementation((from, to) => {
      renameSync(from, to);
      events.push('rename');
    });
    await writeFolderAtomically(path.join(parent, '1'), (folder) => {
      fs.mkdirSync(path.join(folder, 'deep'));
      put('deep/a', 'x')(folder);
      put('b', 'y')(folder);
    });
    expect(events.toSorted()).toEqual(['1~', '1~/b', '1~/deep', '1~/deep/a', 'parent', 'rename']);
    expect(events.slice(-3)).toEqual(['1~', 'rename', 'parent']);
  });

  it('replaces an existing folder', async () => {
    const target = path.join(temporaryFolder(), '7');
    await writeFolderAtomically(target, put('old', '1'));
    await writeFolderAtomically(`${target}/`, put('new', '2'));
    expect(fs.readdirSync(target)).toEqual(['new']);
    expect(fs.readdirSync(path.dirname(target))).toEqual(['7']);
  });

  it('passes an error of the callback through and keeps the old folder', async () => {
    const target = path.join(temporaryFolder(), '7');
    await writeFolderAtomically(target, put('old', '1'));
    const bug = new Error('a bug');
    const writing = writeFolderAtomically(target, (folder) => {
      put('new', '2')(folder);
      throw bug;
    });
    await expect(writing).rejects.toBe(bug);
    expect(fs.readdirSync(path.dirname(target))).toEqual(['7']);
    expect(get(target, 'old')).toBe('1');
  });

  it('puts the old folder back when the new one cannot take its place', async () => {
    const target = path.join(temporaryFolder(), '7');
    await writeFolderAtomically(target, put('old', '1'));
    const { renameSync } = fs;
    vi.spyOn(fs, 'renameSync').mockImplementation((from, to) => {
      if (String(from).includes('.tmp-')) throw systemError('EDQUOT');
      renameSync(from, to);
    });
    await expect(writeFolderAtomically(target, put('new', '2'))).rejects.toThrow(
      /your disk quota is used up \(EDQUOT\)/,
    );
    expect(fs.readdirSync(path.dirname(target))).toEqual(['7']);
    expect(get(target, 'old')).toBe('1');
  });
});

describe('leftovers of killed processes', () => {
  it('are removed, or put back where the new folder did not come', () => {
    const folder = temporaryFolder();
    const make = (name: string) => {
      fs.mkdirSync(path.join(folder, name));
      put('who', name)(path.join(folder, name));
    };
    const living = process.ppid;
    const names = [
      '100',
      `100.old-${DEAD}`,
      `100.tmp-${DEAD}`,
      `200.old-${DEAD}`,
      `200.tmp-${DEAD}`,
      `300.tmp-${living}`,
      '300.tmp-',
      'notes.tmp-5x',
    ];
    names.forEach(make);
    expect(cleanLeftovers(folder, '100').toSorted()).toEqual([`100.old-${DEAD}`, `100.tmp-${DEAD}`]);
    expect(cleanLeftovers(folder).toSorted()).toEqual([`200.old-${DEAD}`, `200.tmp-${DEAD}`]);
    expect(fs.readdirSync(folder).toSorted()).toEqual(['100', '200', '300.tmp-', `300.tmp-${living}`, 'notes.tmp-5x']);
    expect(get(folder, '100', 'who')).toBe('100');
    expect(get(folder, '200', 'who')).toBe(`200.old-${DEAD}`);
    expect(cleanLeftovers(path.join(folder, 'absent'))).toEqual([]);
  });

  it('SIGKILL at any moment leaves one whole folder', { timeout: 60_000 }, async () => {
    const folder = temporaryFolder();
    const target = path.join(folder, '1');
    // The writer replaces the folder as fast as it can; both files of a folder hold the same number.
    const script = `
      import { writeFolderAtomically } from ${JSON.stringify(new URL('../../src/train/atomic-folder.ts', import.meta.url).href)};
      import fs from 'node:fs';
      for (let i = 0; ; i++) {
        await writeFolderAtomically(${JSON.stringify(target)}, (dir) => {
          for (const name of ['a', 'b']) fs.writeFileSync(dir + '/' + name, String(i).padStart(100_000));
        });
        if (i === 2) console.log('ready');
      }`;
    let last = -1;
    for (let kill = 0; kill < 8; kill++) {
      const writer = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exited = new Promise((resolve) => writer.on('exit', (_, signal) => resolve(signal)));
      await new Promise((resolve) => writer.stdout.once('data', resolve));
      await new Promise((resolve) => setTimeout(resolve, kill * 1.7));
      writer.kill('SIGKILL');
      expect(await exited).toBe('SIGKILL');
      cleanLeftovers(folder);
      expect(fs.readdirSync(folder)).toEqual(['1']);
      expect(fs.readdirSync(target).toSorted()).toEqual(['a', 'b']);
      expect(get(target, 'a')).toBe(get(target, 'b'));
      expect(get(target, 'a')).toHaveLength(100_000);
      last = Math.max(last, Number(get(target, 'a')));
    }
    expect(last).toBeGreaterThanOrEqual(2);
  });
});

describe('a disk that refuses', () => {
  async function expectRefusal(parent: string, writing: Promise<void>, code: string, message: RegExp) {
    const error: unknown = await writing.then(
      () => 'no error',
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(WriteError);
    expect((error as WriteError).code).toBe(code);
    expect((error as WriteError).message).toMatch(message);
    expect(fs.readdirSync(parent)).toEqual(['100']);
    expect(get(parent, '100', 'w')).toBe('old');
  }

  it('(injected ENOSPC) gets one sentence, and the previous checkpoint stands', async () => {
    const parent = temporaryFolder();
    await writeFolderAtomically(path.join(parent, '100'), put('w', 'old'));
    const writing = writeFolderAtomically(path.join(parent, '200'), (folder) => {
      put('w', 'x'.repeat(1500))(folder);
      throw systemError('ENOSPC');
    });
    const sentence =
      /^cannot write the checkpoint \S+\/200 \(1\.5 kB\): the disk is full \(ENOSPC, [^)]+ free\); free space or choose a folder on another disk; the previous checkpoint \(100\) stands$/;
    await expectRefusal(parent, writing, 'ENOSPC', sentence);
  });

  it.skipIf(!canMount)('(a real full disk: tmpfs; needs root) says how much it needs', async () => {
    const parent = smallDisk(1 << 20).folder;
    await writeFolderAtomically(path.join(parent, '100'), put('w', 'old'));
    const writing = writeFolderAtomically(path.join(parent, '200'), async (folder) => {
      put('state.json', ' '.repeat(100_000))(folder);
      await writeSafetensors(path.join(folder, 'm.safetensors'), [
        { name: 'w', dtype: 'F32', shape: [500_000], data: () => new Float32Array(500_000) },
      ]);
    });
    await expectRefusal(
      parent,
      writing,
      'ENOSPC',
      /^cannot write the checkpoint \S+\/200 \(2\.1 MB\): the disk is full \(ENOSPC, 1\.0 MB free\); .*; the previous checkpoint \(100\) stands$/,
    );
    await writeFolderAtomically(path.join(parent, '300'), put('w', 'fits'));
    expect(listSteps(parent)).toEqual([100, 300]);
  });

  it.skipIf(!canMount)('(really read-only: tmpfs; needs root)', async () => {
    const disk = smallDisk(1 << 20);
    await writeFolderAtomically(path.join(disk.folder, '100'), put('w', 'old'));
    disk.makeReadOnly();
    const writing = writeFolderAtomically(path.join(disk.folder, '200'), put('w', 'new'));
    await expectRefusal(
      disk.folder,
      writing,
      'EROFS',
      /the file system is read-only \(EROFS\); choose a folder that you may write to/,
    );
  });

  it('(really no permission)', async () => {
    const parent = temporaryFolder();
    await writeFolderAtomically(path.join(parent, '100'), put('w', 'old'));
    fs.chmodSync(parent, 0o555);
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid!(65534); // root may write everywhere
    let refusal: unknown;
    try {
      refusal = await writeFolderAtomically(path.join(parent, '200'), put('w', 'new')).catch((e: unknown) => e);
    } finally {
      if (isRoot) process.seteuid!(0);
      fs.chmodSync(parent, 0o755);
    }
    await expectRefusal(
      parent,
      Promise.reject(refusal),
      'EACCES',
      /permission denied \(EACCES\); .*; the previous checkpoint \(100\) stands$/,
    );
  });

  it('says so when there is no earlier checkpoint', async () => {
    const target = path.join(temporaryFolder(), 'a', '100');
    const full = writeFolderAtomically(target, () => {
      throw systemError('ENOSPC');
    });
    await expect(full).rejects.toThrow(/; nothing was there before$/);
    expect(fs.readdirSync(path.dirname(target))).toEqual([]);
    fs.writeFileSync(target, '');
    await expect(writeFolderAtomically(path.join(target, 'x'), put('a', ''))).rejects.toThrow(WriteError);
  });
});

describe('keepLast', () => {
  const stepsOf = (...steps: number[]) => {
    const folder = temporaryFolder();
    for (const step of steps) fs.mkdirSync(path.join(folder, String(step), 'deep'), { recursive: true });
    return folder;
  };

  it('keeps the last ones by number and the protected ones', () => {
    const folder = stepsOf(5, 900, 1000, 80, 0);
    fs.mkdirSync(path.join(folder, '007'));
    fs.writeFileSync(path.join(folder, '70'), 'a file');
    expect(listSteps(folder)).toEqual([0, 5, 80, 900, 1000]);
    expect(keepLast(folder, 2, [5])).toEqual([0, 80]);
    expect(listSteps(folder)).toEqual([5, 900, 1000]);
    expect(keepLast(folder, 5)).toEqual([]);
    expect(fs.readdirSync(folder).toSorted()).toEqual(['007', '1000', '5', '70', '900']);
  });

  it('killed in the middle, it leaves no half checkpoint', () => {
    const folder = stepsOf(1, 2);
    const { rmSync } = fs;
    vi.spyOn(fs, 'rmSync').mockImplementation((file, options) => {
      if (fs.existsSync(file)) throw new Error('killed');
      rmSync(file, options);
    });
    expect(() => keepLast(folder, 1)).toThrow('killed');
    expect(listSteps(folder)).toEqual([2]);
    vi.restoreAllMocks();
    cleanLeftovers(folder);
    expect(fs.readdirSync(folder)).toEqual(['2']);
  });

  it('never removes all', () => {
    expect(() => keepLast(stepsOf(1), 0)).toThrow(/count must be an integer of at least 1, got 0/);
    expect(() => keepLast(stepsOf(1), 1.5)).toThrow(RangeError);
    expect(keepLast('/nowhere/at/all', 1)).toEqual([]);
  });
});

/**
 * @file The CUDA device: on every machine its headers, its build and its table of absent kernels; on a machine with a GPU
 * and the library also its kernels against the reference, its graphs and what it says of wrong data.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { ABSENT } from '../../src/device/cuda/absent.js';
import { KERNEL_NAMES } from '../../src/device/kernel-names.js';
import { bindKernels } from '../../src/device/native/bind.js';
import { abiVersion, functionName, parseHeader } from '../../src/device/native/header.js';
import type { Library } from '../../src/device/native/library.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { describeFailure, selftest } from '../../src/device/selftest/selftest.js';
import { cudaOrReason } from '../support/cuda.js';

/** The build's own modules are plain JavaScript. */
interface BuildTools {
  abiVersion: (text: string) => number;
  presentKernels: (header: string, absent: string) => string[];
  gencode: (architecture: string) => string;
}
const native = join(import.meta.dirname, '../../native');
const { abiVersion: abiForBuild } = (await import(join(native, 'tools/header.mjs'))) as BuildTools;
const { presentKernels } = (await import(join(native, 'build-cuda.mjs'))) as BuildTools;
const { gencode } = (await import(join(native, 'tools/nvcc.mjs'))) as BuildTools;

const read = (...path: string[]): string => readFileSync(join(import.meta.dirname, '../..', ...path), 'utf8');
const header = read('native', 'include', 'xl.h') + read('native', 'include', 'xl_cuda.h');
const present = KERNEL_NAMES.filter((name) => !(name in ABSENT));
const sources = readdirSync(join(native, 'cuda'))
  .filter((name) => name.endsWith('.cu'))
  .map((name) => read('native', 'cuda', name))
  .join('\n');

describe('the headers and the build of the CUDA library', () => {
  test('have one version, at run time and in the build', () => {
    expect(abiForBuild(header)).toBe(abiVersion(parseHeader(header)));
  });

  test('agree on which kernels there are, and each of these is written', () => {
    const expected = present.map(functionName).toSorted();
    expect(presentKernels(header, read('src', 'device', 'cuda', 'absent.ts')).toSorted()).toEqual(expected);
    for (const name of expected) expect(sources, name).toMatch(new RegExp(`\\bint ${name}(##SUFFIX)?\\(`));
  });

  test('name the architectures as nvcc does', () => {
    expect(gencode('90a')).toBe('-gencode=arch=compute_90a,code=sm_90a');
    expect(gencode('80+PTX')).toBe('-gencode=arch=compute_80,code=compute_80');
    expect(() => gencode('hopper')).toThrow('--arch must be a list such as 80,90a or 80+PTX, got "hopper"');
  });

  test('without nvcc, the build says what to install; it fails only when that was asked for', () => {
    const folder = mkdtempSync(join(tmpdir(), 'xlstm-cuda-'));
    afterAll(() => rmSync(folder, { recursive: true }));
    const build = (...options: string[]) =>
      spawnSync(process.execPath, [join(native, 'build-cuda.mjs'), '--out', folder, ...options], {
        encoding: 'utf8',
        env: { ...process.env, CUDACXX: 'no-such-compiler' },
      });
    const lenient = build();
    expect(lenient.stderr).toMatch(/nvcc was not found \(tried no-such-compiler\).*pip install nvidia-cuda-nvcc/s);
    expect(lenient.status).toBe(0);
    expect(build('--strict').status).toBe(1);
  });
});

describe('kernels that are absent', () => {
  const library = { prototypes: parseHeader(header), get: () => () => 0 } as unknown as Library;

  test('throw a sentence with their name, the device and the reason', () => {
    const kernels = bindKernels('cuda', library, { fill: 'it is not written yet' });
    expect(() => kernels.fill(null as never, 0, 1)).toThrow(
      'cuda: the kernel fill is not there: it is not written yet. Use another device, such as --device cpu',
    );
  });

  test('are skipped by name in the self-test', async () => {
    const reference = createReferenceDevice();
    const device = { ...createReferenceDevice(), absent: new Map([['scanForward', 'not yet']] as const) };
    const results = await selftest(device, reference, { kernels: ['scanForward', 'positions'] });
    const skipped = results.filter((result) => result.skipped !== undefined);
    expect(new Set(skipped.map(({ skipped }) => skipped))).toEqual(new Set(['scanForward: not yet']));
    expect(new Set(skipped.map(({ kernel }) => kernel))).toEqual(new Set(['scanForward']));
    expect(results.length).toBeGreaterThan(skipped.length);
    expect(results.every(({ ok }) => ok)).toBe(true);
  });
});

describe('without a CUDA library', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.resetModules();
  });

  test('the error says where it was looked for and what to do', async () => {
    vi.stubEnv('XLSTM_NATIVE_CUDA', '/nowhere/libxl_cuda.so');
    vi.resetModules();
    const { createCudaDevice } = await import('../../src/device/cuda/cuda.js');
    expect(() => createCudaDevice()).toThrow(
      /\/nowhere\/libxl_cuda.so \(\$XLSTM_NATIVE_CUDA\).*node native\/build-cuda.mjs.*--device cpu/,
    );
  });
});

const device = cudaOrReason();
const reason = typeof device === 'string' ? ` (skipped: ${device})` : '';

describe.skipIf(typeof device === 'string')(`on a GPU${reason}`, () => {
  const cuda = device as Exclude<typeof device, string>;

  test('the kernels agree with the reference', async () => {
    const results = await selftest(cuda, createReferenceDevice(), { kernels: present });
    expect(results.filter(({ ok }) => !ok).map(describeFailure)).toEqual([]);
  });

  test('a graph runs again what was recorded, with the memory of the recording', async () => {
    const x = cuda.alloc('float', 1000);
    cuda.kernels.fill(x, 1, 1000);
    const graph = cuda.recorder.record(() => {
      const double = cuda.alloc('float', 1000);
      cuda.kernels.add(double, x, x, 1000);
      cuda.kernels.copy(x, double, 1000);
      cuda.free(double);
    });
    expect((await cuda.read(x))[999]).toBe(1);
    for (let launch = 0; launch < 3; launch++) graph.launch();
    expect((await cuda.read(x))[999]).toBe(8);
    graph.destroy();
    cuda.free(x);
  });

  test('a token outside of the vocabulary is reported by the next wait, once', async () => {
    const [y, tokens, table] = [cuda.alloc('float', 4), cuda.alloc('int32', 2), cuda.alloc('float', 6)];
    cuda.write(tokens, Int32Array.of(1, 3));
    cuda.kernels.embeddingForward(y, tokens, table, 2, 2, 3);
    expect(() => cuda.synchronize()).toThrow('token 3 at position 1 lies outside of the vocabulary 0..2');
    cuda.synchronize();
    for (const buffer of [y, tokens, table]) cuda.free(buffer);
  });
});

/**
 * @file The native library as such: its header, its build, its memory, its instruction sets and threads. What its
 * kernels compute is tested against the reference in `selftest.test.ts`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { KERNEL_NAMES } from '../../src/device/kernel-names.js';
import { functionName, parseHeader, snakeCase } from '../../src/device/native/header.js';
import { loadLibrary } from '../../src/device/cpu/library.js';
import { mapFile } from '../../src/device/cpu/map-file.js';
import type { Device, HostArray } from '../../src/device/device.js';
import type { DeviceBuffer } from '../../src/device/kernels.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { kernelCases } from '../../src/device/selftest/cases.js';
import type { KernelCase } from '../../src/device/selftest/problem.js';
import { runCalls } from '../../src/device/selftest/problem.js';
import { compare } from '../../src/device/selftest/selftest.js';
import { float32Tolerance } from '../../src/device/selftest/tolerances.js';
import { cpuOrReason } from '../support/cpu.js';
import { usableIsas } from '../support/isas.js';

/** The build's own modules are plain JavaScript. */
interface BuildTools {
  foreignSymbols: (objects: string[]) => string[];
  parseHeader: (text: string) => { name: string; result: string; parameters: { type: string; name: string }[] }[];
}
const tools = join(import.meta.dirname, '../../native/tools');
const { foreignSymbols } = (await import(join(tools, 'symbols.mjs'))) as BuildTools;
const { parseHeader: parseForBuild } = (await import(join(tools, 'header.mjs'))) as BuildTools;

const read = (path: string): string => readFileSync(join(import.meta.dirname, '../..', path), 'utf8');
const header = read('native/include/xl.h');
const folder = mkdtempSync(join(tmpdir(), 'xlstm-library-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** The kernels of the contract with the names of their arguments, from the text of its two files. */
function contract(): Map<string, string[]> {
  const members = (file: string, start: string): string => read(`src/device/${file}`).split(start)[1]!;
  const body = [
    members('kernels.ts', 'export interface Kernels extends StateSpaceKernels {'),
    members('kernels-state-space.ts', 'export interface StateSpaceKernels {'),
  ]
    .join('\n')
    .replace(/\/\*[\s\S]*?\*\//g, '');
  const methods = body.matchAll(/^ {2}(\w+)\(([^)]*)\): void;/gm);
  return new Map(
    [...methods].map(([, name, list]) => [name!, list!.split(',').map((part) => part.split(':')[0]!.trim())]),
  );
}

describe('xl.h', () => {
  const prototypes = parseHeader(header);

  test('has every kernel of the contract, with its arguments in its order', () => {
    const inHeader = new Map(prototypes.map(({ name, arguments: list }) => [name, list.map((a) => a.name)]));
    const kernels = contract();
    expect([...kernels.keys()].toSorted()).toEqual(KERNEL_NAMES.toSorted());
    for (const [name, args] of kernels) expect(inHeader.get(functionName(name)), name).toEqual(args.map(snakeCase));
  });

  test('has no kernel that the contract lacks', () => {
    const known = new Set([...contract().keys()].map(functionName));
    const others = prototypes.filter(({ name }) => !known.has(name)).map(({ name }) => name);
    expect(others.join(' ')).toBe(
      'xl_last_error xl_abi_version xl_isa xl_set_isa xl_set_threads xl_get_threads xl_measure_peak ' +
        'xl_alloc xl_free xl_trim xl_write xl_read xl_map_file xl_unmap_file ' +
        'xl_capture_begin xl_capture_end xl_graph_launch xl_graph_destroy xl_collect_begin xl_collect_end',
    );
  });

  test('reads the same at run time and in the build', () => {
    type Parts = { name: string; result: string };
    const line = ({ name, result }: Parts, list: readonly { type: string; name: string }[]): string =>
      `${result} ${name}(${list.map((a) => `${a.type} ${a.name}`).join(', ')})`;
    expect(parseForBuild(header).map((p) => line(p, p.parameters))).toEqual(
      prototypes.map((p) => line(p, p.arguments)),
    );
  });

  test('tells device memory from host memory', () => {
    const [first] = parseHeader('XL_API int xl_f(float *y /* [N] */, const uint8_t *r,\n  void *host, int64_t N);');
    expect(first?.arguments.map(({ name, kind }) => `${name}:${kind}`)).toEqual([
      'y:float',
      'r:uint8',
      'host:host',
      'N:number',
    ]);
  });

  test('is refused where it cannot be read', () => {
    expect(() => parseHeader('XL_API int xl_f(long N);')).toThrow('xl_f: cannot read the argument "long N"');
    expect(() => parseHeader('XL_API int xl_f(float *);')).toThrow('cannot read the argument "float *"');
    expect(() => parseHeader('XL_API int f(int64_t N);')).toThrow('cannot read the declaration');
  });
});

describe('without a library', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.resetModules();
  });

  test('the error says where it was looked for and what to do', async () => {
    vi.stubEnv('XLSTM_NATIVE', '/nowhere/libxl_cpu.so');
    vi.resetModules();
    const { createCpuDevice } = await import('../../src/device/cpu/cpu.js');
    expect(() => createCpuDevice()).toThrow(
      /\/nowhere\/libxl_cpu.so \(\$XLSTM_NATIVE\).*node native\/build.mjs.*--device reference/,
    );
  });

  test('a file that is no library is named', async () => {
    const path = join(folder, 'text.so');
    writeFileSync(path, 'not a library');
    vi.stubEnv('XLSTM_NATIVE', path);
    vi.resetModules();
    const { createCpuDevice } = await import('../../src/device/cpu/cpu.js');
    expect(() => createCpuDevice()).toThrow(`${path} does not load`);
  });

  test('files are read instead of mapped', async () => {
    vi.stubEnv('XLSTM_NATIVE', '/nowhere/libxl_cpu.so');
    vi.resetModules();
    const path = join(folder, 'plain.txt');
    writeFileSync(path, 'in memory');
    const { mapFile: withoutLibrary } = await import('../../src/device/cpu/map-file.js');
    expect(Buffer.from(withoutLibrary(path).bytes).toString()).toBe('in memory');
  });

  test('and without a compiler, the build says what to install and that there is another device', () => {
    const build = (...options: string[]) =>
      spawnSync(process.execPath, [join(import.meta.dirname, '../../native/build.mjs'), '--out', folder, ...options], {
        encoding: 'utf8',
        env: { ...process.env, CXX: 'no-such-compiler' },
      });
    const lenient = build();
    expect([lenient.status, lenient.stdout]).toEqual([0, '']);
    expect(lenient.stderr).toMatch(/no-such-compiler.*(apt install g\+\+|xcode-select|LLVM).*--device reference/);
    expect(build('--strict').status).toBe(1);
  });
});

const cpu = cpuOrReason();
const reason = typeof cpu === 'string' ? ` (skipped: ${cpu})` : '';

describe.skipIf(reason !== '')(`the library${reason}`, () => {
  const device = cpu as Device;
  const bufferOf = (data: HostArray): DeviceBuffer => {
    const buffer = device.alloc('float', data.length);
    device.write(buffer, data);
    return buffer;
  };

  describe('memory', () => {
    test('counts what is held and the most that was held', () => {
      const before = device.memory.bytes;
      const [a, b] = [device.alloc('float', 1000), device.alloc('uint8', 7)];
      expect(device.memory.bytes - before).toBe(4007);
      device.free(a);
      device.memory.resetPeak();
      expect(device.memory.peak - before).toBe(7);
      const c = device.alloc('int32', 10);
      device.free(b);
      device.free(c);
      expect([device.memory.bytes - before, device.memory.peak - before]).toEqual([0, 47]);
    });

    test('is reused by size, and 64-byte aligned', () => {
      const address = (buffer: DeviceBuffer): number => (buffer as unknown as { address: number }).address;
      const first = device.alloc('float', 12_345);
      const at = address(first);
      device.free(first);
      const second = device.alloc('float', 12_344);
      expect([address(second), at % 64]).toEqual([at, 0]);
      device.free(second);
      loadLibrary().call('xl_trim');
    });

    test('blocks of all sizes hold what was written, side by side', async () => {
      const sizes = [0, 1, 15, 16, 17, 127, 128, 129, 1000, 4095, 4097, 524_288, 600_001];
      const buffers = sizes.map((n, index) => bufferOf(new Float32Array(n).fill(index)));
      for (const [index, buffer] of buffers.entries()) {
        expect(new Set(await device.read(buffer)), `${sizes[index]} floats`).toEqual(
          new Set(sizes[index] ? [index] : []),
        );
        device.free(buffer);
      }
    });

    test('that is exhausted says what was asked for and what is held', () => {
      const held = device.alloc('float', 1e6);
      expect(() => device.alloc('float', 1e13)).toThrow(
        /out of memory: asked for 40000000.0 MB while \d+\.\d MB are held; use/,
      );
      device.free(held);
    });

    test('that was freed is not used again, nor freed', () => {
      const buffer = device.alloc('float', 4);
      const view = device.view(buffer, 1, 2);
      device.free(buffer);
      const freed = 'was already freed';
      expect(() => device.free(buffer)).toThrow(freed);
      expect(() => device.kernels.fill(buffer, 0, 4)).toThrow(
        `fill: argument y is a float buffer of 4 elements that ${freed}`,
      );
      expect(() => device.kernels.fill(view, 0, 2)).toThrow(freed);
      expect(() => device.view(view, 0, 1)).toThrow(freed);
      expect(() => device.write(view, new Float32Array(2))).toThrow(freed);
    });

    test('fresh floats are NaN with poison, and only then', async () => {
      device.poison = true;
      const [floats, ints] = [device.alloc('float', 77), device.alloc('int32', 5)];
      device.poison = false;
      expect((await device.read(floats)).every(Number.isNaN)).toBe(true);
      device.free(floats);
      device.free(ints);
    });

    test('views share it and keep inside', async () => {
      const buffer = bufferOf(Float32Array.of(0, 1, 2, 3, 4, 5));
      const middle = device.view(device.view(buffer, 1, 4), 1, 2);
      expect(await device.read(middle)).toEqual(Float32Array.of(2, 3));
      device.write(middle, Float64Array.of(0.5, 1 / 3));
      expect(await device.read(buffer)).toEqual(Float32Array.of(0, 1, 0.5, 1 / 3, 4, 5));
      expect(() => device.view(buffer, 5, 2)).toThrow('view of 2 elements at 5 leaves a buffer of 6');
      expect(() => device.view(buffer, -1, 2)).toThrow(RangeError);
      expect(() => device.free(middle)).toThrow('free of a view');
      expect(() => device.write(buffer, new Float32Array(5))).toThrow('write of 5 elements to a buffer of 6');
      device.free(buffer);
    });
  });

  describe('calls', () => {
    test('with wrong arguments are refused before they reach the library', () => {
      const kernels = device.kernels as unknown as Record<string, (...args: unknown[]) => void>;
      const [floats, ints] = [device.alloc('float', 4), device.alloc('int32', 4)];
      expect(() => kernels['add']!(floats, floats, 4)).toThrow('add takes 4 arguments, got 3');
      expect(() => kernels['add']!(floats, floats, undefined, 4)).toThrow(
        'add: argument b must be a buffer of the cpu device, got undefined',
      );
      expect(() => kernels['add']!(floats, floats, ints, 4)).toThrow(
        'add: argument b must be a float buffer, got int32',
      );
      const foreign = createReferenceDevice().alloc('float', 4);
      expect(() => device.kernels.copy(floats, foreign, 4)).toThrow('argument x must be a buffer of the cpu device');
      device.free(floats);
      device.free(ints);
    });

    test("that fail carry the library's sentence", () => {
      const [y, table, tokens] = [device.alloc('float', 8), bufferOf(new Float32Array(8)), device.alloc('int32', 2)];
      device.write(tokens, Int32Array.of(3, 4));
      expect(() => device.kernels.embeddingForward(y, tokens, table, 2, 2, 4)).toThrow(
        'embedding_forward: token 4 at position 1 lies outside of the vocabulary 0..3',
      );
      expect(() => device.kernels.dropoutForward(y, table, 8, 1, 0, 0)).toThrow(
        'rate must be at least 0 and below 1, got 1',
      );
      for (const buffer of [y, table, tokens]) device.free(buffer);
    });
  });

  describe('files', () => {
    test('are mapped, and empty once closed', () => {
      const path = join(folder, 'mapped.bin');
      writeFileSync(
        path,
        Uint8Array.from({ length: 10_000 }, (_, i) => i),
      );
      const file = mapFile(path);
      const { bytes } = file;
      expect([bytes.length, bytes[255], bytes[9999]]).toEqual([10_000, 255, 9999 % 256]);
      file.close();
      file.close();
      expect(file.bytes).toHaveLength(0);
      expect(bytes[255]).toBe(255);
    });

    test.runIf(process.platform === 'linux')('are unmapped when nobody sees them any more', async () => {
      const path = join(folder, 'unmapped.bin');
      writeFileSync(
        path,
        Uint8Array.from({ length: 10_000 }, (_, i) => i),
      );
      const isMapped = (): boolean => readFileSync('/proc/self/maps', 'utf8').includes(path);
      (() => {
        const file = mapFile(path);
        expect([file.bytes[3], isMapped()]).toEqual([3, true]);
        file.close();
      })();
      setFlagsFromString('--expose-gc');
      const collect = runInNewContext('gc') as () => void;
      for (let attempt = 0; attempt < 50 && isMapped(); attempt++) {
        collect();
        await setTimeout(10);
      }
      expect(isMapped()).toBe(false);
    });

    test('may be empty, but must exist and be files', () => {
      writeFileSync(join(folder, 'empty'), '');
      expect(mapFile(join(folder, 'empty')).bytes).toHaveLength(0);
      expect(() => mapFile(join(folder, 'absent'))).toThrow(/absent: No such file/);
      expect(() => mapFile(folder)).toThrow(folder);
    });
  });

  describe('instruction sets and threads', () => {
    afterEach(() => cpuOrReason({ isa: 'auto', threads: 0 }));

    const isas = usableIsas();

    test('the best one is chosen, and an unknown one is refused with those there are', () => {
      expect(isas.length).toBeGreaterThan(0);
      expect(device.info.description).toContain(`, ${isas.at(-1)}, `);
      expect(() => cpuOrReason({ isa: 'pentium' })).toThrow(`auto, ${isas.join(', ')}; got "pentium"`);
    });

    test('threads are counted, and senseless numbers refused', () => {
      expect((cpuOrReason({ threads: 3 }) as Device).info.threads).toBe(3);
      expect(() => cpuOrReason({ threads: -1 })).toThrow('threads must be 0 (one per core) to 1024, got -1');
      expect((cpuOrReason({ threads: 0 }) as Device).info.threads).toBeGreaterThan(0);
    });

    let cases: KernelCase[];
    beforeAll(async () => {
      cases = await kernelCases(createReferenceDevice());
    });

    /** What all kernel cases write. */
    const everything = async (options: { isa?: string; threads?: number }): Promise<Map<string, HostArray>> => {
      const chosen = cpuOrReason(options) as Device;
      const results = new Map<string, HostArray>();
      for (const { name, calls } of cases) {
        for (const [{ role, name: buffer }, data] of await runCalls(chosen, calls)) {
          if (role !== 'input' && role !== 'saved') results.set(`${name}: ${buffer}`, data);
        }
      }
      return results;
    };

    test('any number of threads gives the same bits', async () => {
      const bits = (data: HostArray): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      const one = await everything({ threads: 1 });
      expect(one.size).toBeGreaterThan(1000);
      for (const threads of [2, 3]) {
        for (const [name, data] of await everything({ threads })) {
          if (!Buffer.from(bits(data)).equals(bits(one.get(name)!)))
            expect.fail(`${name} differs with ${threads} threads`);
        }
      }
    });

    test('all instruction sets give the same numbers, to rounding', async () => {
      const best = await everything({});
      for (const isa of isas.slice(0, -1)) {
        for (const [name, data] of await everything({ isa })) {
          const kernel = name.split(' ')[0] as keyof typeof float32Tolerance;
          // Both are that far from the reference; the hardest cases are allowed twenty times more there.
          const { relativeRms } = compare(name, data, best.get(name)!);
          expect(relativeRms, `${name}, ${isa}`).toBeLessThanOrEqual(40 * float32Tolerance[kernel]);
        }
      }
    });
  });

  describe('objects of one instruction set', () => {
    test('define nothing that the linker could use for another', () => {
      const objects = join(dirname(loadLibrary().path), 'obj');
      const files = readdirSync(objects)
        .filter((name) => name !== 'common')
        .flatMap((isa) => readdirSync(join(objects, isa)).map((file) => join(objects, isa, file)))
        .filter((file) => file.endsWith('.o'));
      expect(files.length).toBeGreaterThan(0);
      expect(foreignSymbols(files)).toEqual([]);
    });

    test('and the check would see it', () => {
      const [source, object] = [join(folder, 'weak.cpp'), join(folder, 'weak.o')];
      writeFileSync(source, 'inline int shared(int x) { return x + 1; }\nint (*used)(int) = shared;\n');
      const compiled = spawnSync('c++', ['-c', source, '-o', object]);
      expect(compiled.status === 0 && existsSync(object)).toBe(true);
      expect(foreignSymbols([object])).toEqual([`${object}: shared(int)`]);
    });
  });
});

/**
 * @file What the library is built for: instruction sets, flags and file names by platform and architecture.
 */

/** @import { Isa } from './generate.mjs' */

const V3 = { suffix: 'v3', name: 'x86-64-v3', flags: ['-march=x86-64-v3'] };
const V4 = { suffix: 'v4', name: 'x86-64-v4', flags: ['-march=x86-64-v4', '-mprefer-vector-width=512'] };

/** @type {Record<string, Isa[]>} by Node's name of the architecture, slowest first */
const ISAS = {
  x64: [
    { suffix: 'base', name: 'x86-64', flags: ['-march=x86-64'] },
    V3,
    { ...V3, name: 'x86-64-v3+vnni', vnni: true },
    V4,
    { ...V4, name: 'x86-64-v4+vnni', vnni: true },
  ],
  arm64: [{ suffix: 'arm', name: 'arm64', flags: ['-march=armv8-a'] }],
};

/** For all C++ of the library. */
export const COMMON_FLAGS = ['-std=c++17', '-O3', '-fvisibility=hidden', '-fPIC', '-Wall', '-Wextra'];

/** For kernels: rounding may be contracted to fma, but NaN and infinity keep their meaning (no -ffast-math). */
export const KERNEL_FLAGS = [
  '-fno-math-errno',
  '-fno-trapping-math',
  '-ffp-contract=fast',
  '-fno-exceptions',
  '-fno-rtti',
];

/**
 * @param {string} arch as in process.arch
 * @returns {Isa[]}
 * @throws {Error} if there is no build for it
 */
export function isasFor(arch) {
  const isas = ISAS[arch];
  if (!isas) throw new Error(`no native build for ${arch}; there is one for ${Object.keys(ISAS).join(' and ')}`);
  return isas;
}

/** @param {string} platform as in process.platform */
export function libraryName(platform) {
  if (platform === 'win32') return 'xl_cpu.dll';
  return platform === 'darwin' ? 'libxl_cpu.dylib' : 'libxl_cpu.so';
}

/**
 * @param {string} platform
 * @returns {string[]} what to add to the compiler's command to link a shared library that needs no C++ runtime
 */
export function linkFlags(platform) {
  if (platform === 'win32') return ['-shared', '-static'];
  if (platform === 'darwin') return ['-dynamiclib'];
  return [
    '-shared',
    '-pthread',
    '-static-libstdc++',
    '-static-libgcc',
    '-Wl,--exclude-libs,ALL',
    '-Wl,--no-undefined',
    '-Wl,-z,nodelete',
  ];
}

/** @param {string} platform */
export function installAdvice(platform) {
  if (platform === 'darwin') return 'run: xcode-select --install';
  if (platform === 'win32') return 'install LLVM (winget install LLVM.LLVM) and put clang++ on the PATH';
  return 'on Debian and Ubuntu run: sudo apt install g++; on Fedora: sudo dnf install gcc-c++; on Alpine: apk add g++';
}

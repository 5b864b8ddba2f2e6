/** @file How a contender in JavaScript takes its job, times its calls and answers; ours/job.ts is the same for this project. */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

export const job = JSON.parse(process.argv[2]);

const require = createRequire(path.join(process.env.PEERS_NPM, 'of-the-peers.cjs'));

/** A package of the cache folder. @param file  within it, where it is not what the package says */
export const load = (name, file = '') =>
  file === ''
    ? Promise.resolve(require(name))
    : import(pathToFileURL(path.join(process.env.PEERS_NPM, name, file)).href);

/** Folder of a package. */
export const folderOf = (name) => path.join(process.env.PEERS_NPM, name);

const versionOf = (name) => JSON.parse(fs.readFileSync(path.join(folderOf(name), 'package.json'), 'utf8')).version;

/** Seconds of each call, after one that is not counted. */
export async function timed(call) {
  if (job.check) return [];
  await call();
  const taken = [];
  const end = performance.now() + 1000 * job.seconds;
  while (taken.length < 3 || performance.now() < end) {
    const start = performance.now();
    await call();
    taken.push((performance.now() - start) / 1000);
  }
  return taken;
}

/** The tensors of a safetensors file of float32 and int32: shape and data. */
export function readTensors(file) {
  const bytes = fs.readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  return Object.fromEntries(
    Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [begin, end],
          },
        ]) => {
          const { buffer } = Uint8Array.from(bytes.subarray(8 + length + begin, 8 + length + end));
          return [name, { shape, data: dtype === 'I32' ? new Int32Array(buffer) : new Float32Array(buffer) }];
        },
      ),
  );
}

export function answer(seconds, outputs, ...packages) {
  const versions = Object.fromEntries([
    ['node', process.versions.node],
    ...packages.map((name) => [name, versionOf(name)]),
  ]);
  process.stdout.write(`${JSON.stringify({ seconds: { '': seconds }, outputs, versions })}\n`, () => process.exit(0));
}

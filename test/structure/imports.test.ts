/**
 * @file The shape of the source: who may import whom, no import cycles, no file that grew too long, no path of a
 * developer's machine.
 *
 * Imports of types alone count for the direction, since what a file knows is what binds it, but not for cycles: they are
 * gone when the program runs, and two files may well name each other's types.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { root } from '../support/documents.js';

/** From the top down; a folder imports from its own rank and below. Folders of one rank stand in one row. */
const ORDER: readonly (readonly string[])[] = [
  ['cli'],
  ['serve', 'experiments'],
  ['train', 'generate', 'evaluate'],
  ['data'],
  ['tokens'],
  ['model'],
  ['mixers', 'layers'],
  ['ops'],
  ['tensor'],
  ['device'],
];

/** They import nothing, and anyone may import them. */
const LEAVES = ['event-loop.ts', 'format.ts', 'package-version.ts', 'sha256.ts'];
/** They import from everywhere, and nobody imports them. */
const ROOTS = ['browser.ts', 'index.ts'];
/** What both of them export; nobody else imports it. */
const SHARED = 'shared-api.ts';

const MAX_LINES = 450;
/** Longer files, each with the reason why it is one thing. */
const LONG_FILES: Readonly<Record<string, string>> = {};

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

/** The modules that a source text imports or re-exports from, relative ones only. */
function importsIn(source: string): { specifier: string; typeOnly: boolean }[] {
  const statements = [...source.matchAll(/^(?:import|export)\s+(type\s+)?[^;'"]*?\bfrom\s+'([^']+)'/gm)].map(
    ([, type, specifier]) => ({ specifier: specifier!, typeOnly: type !== undefined }),
  );
  const bare = [...source.matchAll(/^import\s+'([^']+)'/gm), ...source.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)];
  return [...statements, ...bare.map(([, specifier]) => ({ specifier: specifier!, typeOnly: false }))].filter(
    ({ specifier }) => specifier.startsWith('.'),
  );
}

const src = path.join(root, 'src');
const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .map((name) => name.split(path.sep).join('/'))
  .filter((name) => name.endsWith('.ts'))
  .sort();

const imports: readonly Import[] = files.flatMap((from) =>
  importsIn(readFileSync(path.join(src, from), 'utf8')).map(({ specifier, typeOnly }) => ({
    from,
    to: path.posix.join(path.posix.dirname(from), specifier).replace(/\.js$/, '.ts'),
    typeOnly,
  })),
);

const rankOf = (file: string): number => ORDER.findIndex((folders) => folders.includes(file.split('/')[0]!));

/** Why an import is not allowed, or null. */
function fault({ from, to }: Import): string | null {
  if (LEAVES.includes(from)) return `${from} is a leaf and imports nothing, yet it imports ${to}`;
  if (ROOTS.includes(to)) return `${from} imports ${to}, which only re-exports`;
  if (to === SHARED && !ROOTS.includes(from)) return `${from} imports ${to}, which only re-exports`;
  if (LEAVES.includes(to) || from === SHARED || ROOTS.includes(from)) return null;
  const [own, other] = [rankOf(from), rankOf(to)];
  if (own === -1 || other === -1) return `${from} imports ${to}: one of them has no place in ORDER`;
  if (own <= other) return null;
  return `${from} imports ${to}: ${ORDER[own]!.join('/')} stands below ${ORDER[other]!.join('/')}`;
}

/** A cycle of run-time imports as a list of files, the first again at the end; null if there is none. */
function findCycle(edges: readonly Import[]): string[] | null {
  const next = new Map<string, string[]>();
  for (const { from, to, typeOnly } of edges) if (!typeOnly) next.set(from, [...(next.get(from) ?? []), to]);
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): string[] | null => {
    if (trail.includes(file)) return [...trail.slice(trail.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const other of next.get(file) ?? []) {
      const cycle = visit(other, [...trail, file]);
      if (cycle !== null) return cycle;
    }
    done.add(file);
    return null;
  };
  for (const file of next.keys()) {
    const cycle = visit(file, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

describe('imports', () => {
  it('are read as they are written', () => {
    const source =
      "/** import { no } from './comment.js' */\nimport fs from 'node:fs';\nimport type { A } from './a.js';\n" +
      "import {\n  b,\n  type C,\n} from '../b.js';\nexport { d } from './d.js';\nexport type { E } from './e.js';\n" +
      "import './f.js';\nconst g = await import('./g.js');\n";
    expect(importsIn(source)).toEqual([
      { specifier: './a.js', typeOnly: true },
      { specifier: '../b.js', typeOnly: false },
      { specifier: './d.js', typeOnly: false },
      { specifier: './e.js', typeOnly: true },
      { specifier: './f.js', typeOnly: false },
      { specifier: './g.js', typeOnly: false },
    ]);
  });

  it('name files that exist', () => {
    expect(imports.length).toBeGreaterThan(300);
    expect(imports.filter(({ to }) => !existsSync(path.join(src, to)))).toEqual([]);
  });

  it('go in one direction', () => {
    expect(fault({ from: 'ops/a.ts', to: 'model/b.ts', typeOnly: true })).toContain('ops stands below model');
    expect(fault({ from: 'train/a.ts', to: 'cli/b.ts', typeOnly: false })).not.toBeNull();
    expect(imports.map(fault).filter((reason) => reason !== null)).toEqual([]);
  });

  it('every folder has its place', () => {
    const folders = new Set(files.filter((file) => file.includes('/')).map((file) => file.split('/')[0]!));
    expect([...folders].toSorted()).toEqual(ORDER.flat().toSorted());
    expect(files.filter((file) => !file.includes('/'))).toEqual([...LEAVES, ...ROOTS, SHARED].toSorted());
  });

  it('have no cycle', () => {
    const edge = (from: string, to: string, typeOnly = false): Import => ({ from, to, typeOnly });
    expect(findCycle([edge('a', 'b'), edge('b', 'c'), edge('c', 'b')])).toEqual(['b', 'c', 'b']);
    expect(findCycle([edge('a', 'b'), edge('b', 'a', true)])).toBeNull();
    expect(findCycle(imports)).toBeNull();
  });
});

describe('files', () => {
  it(`under src have at most ${MAX_LINES} lines, or a reason`, () => {
    const lines = (file: string) => readFileSync(path.join(src, file), 'utf8').trimEnd().split('\n').length;
    const long = files.filter((file) => lines(file) > MAX_LINES);
    expect(long).toEqual(Object.keys(LONG_FILES));
  });

  it('under src open with what they are', () => {
    const opening = (file: string) => readFileSync(path.join(src, file), 'utf8').replace(/^#!.*\n/, '');
    expect(files.filter((file) => !/^\/\*\*\s+(\* )?@file /.test(opening(file)))).toEqual([]);
  });

  it("name no path of a developer's machine", () => {
    const homes = ['work', 'root', 'tmp', 'home/\\w+', 'Users/\\w+'];
    const local = new RegExp(homes.map((name) => `(?<![\\w.~-])/${name}/`).join('|'));
    for (const home of ['work', 'tmp', 'home/me']) expect(local.test(`in "/${home}/x"`), home).toBe(true);
    expect(local.test('in runs/work/x')).toBe(false);
    const found = textFiles().flatMap((file) =>
      readFileSync(path.join(root, file), 'utf8')
        .split('\n')
        .flatMap((line, at) => (local.test(line) ? [`${file}:${at + 1}: ${line.trim().slice(0, 100)}`] : [])),
    );
    expect(found).toEqual([]);
  });
});

const BINARY = /\.(safetensors|zst|bin|png)$/;
const NOT_OURS = ['node_modules', 'dist', 'build', 'runs', 'coverage', '.git'];

/** The text files of the project: those that git tracks, or, where there is no git, all that are not made or installed. */
function textFiles(): string[] {
  let names: string[];
  try {
    names = execFileSync('git', ['ls-files', '-z'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .split('\0')
      .filter((name) => name !== '');
  } catch {
    names = readdirSync(root)
      .filter((name) => !NOT_OURS.includes(name))
      .flatMap((name) => {
        if (!statSync(path.join(root, name)).isDirectory()) return [name];
        return readdirSync(path.join(root, name), { recursive: true, encoding: 'utf8' }).map((inner) =>
          path.join(name, inner),
        );
      });
  }
  return names.filter((name) => {
    const file = statSync(path.join(root, name), { throwIfNoEntry: false });
    return file?.isFile() === true && !BINARY.test(name);
  });
}

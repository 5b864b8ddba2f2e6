/**
 * @file What a WGSL program of this device is: its text and the names of its buffers and sizes. Here a declaration becomes
 * WGSL for one way in which its buffers lie in memory. It runs nothing; that is `gpu.ts`.
 *
 * A program sees each of its buffers through functions that are made here: `x_at(n)` reads element n, `x_set(n, value)`
 * writes it, `x_add(n, value)` adds to it, and the constant `has_x` is false where the buffer is absent (then it reads
 * zeros). So that a program need not know that views begin anywhere, that two arguments may lie in one buffer (which
 * WebGPU binds once), or that bytes are packed in words.
 */

type Element = 'f32' | 'i32' | 'u8';

interface BufferDeclaration {
  readonly name: string;
  readonly element: Element;
  readonly isWritten: boolean;
}

/** A program as it is written down; lists are words, a type other than f32 (buffers) or u32 (sizes) behind a colon. */
export interface ProgramText {
  readonly name: string;
  /** Buffers that it writes: "y", "y:i32". */
  readonly writes: string;
  /** Buffers that it only reads: "x bias reset:u8 tokens:i32". */
  readonly reads: string;
  /** Numbers that change from call to call, read as `p.N`: "N alpha:f32". */
  readonly sizes: string;
  /** Invocations of a workgroup; the constant THREADS. */
  readonly threads: number;
  /**
   * Whether four invocations, or one, can do the work of a workgroup: they share nothing but `group_sum`, `group_max` and
   * what the functions `quad...` of WGSL exchange. A GPU in software runs it so, for there a barrier costs as much as
   * hundreds of products, while four neighbours are one vector of the processor.
   */
  readonly solo?: boolean;
  /** Defines `fn kernel(group: u32, lane: u32)`, which every invocation runs, and what that needs. */
  readonly code: Code;
}

/** WGSL, or what makes it of the constants, THREADS and SUBGROUPS among them. */
export type Code = string | ((constants: Constants) => string);

/** A piece of WGSL for each of 0..count-1: what is not in a loop stays in registers. */
export const lines = (count: number, text: (k: number) => string): string =>
  Array.from({ length: count }, (_, k) => text(k)).join('\n');

const textOf = (code: Code, constants: Constants): string => (typeof code === 'string' ? code : code(constants));

export interface Program {
  readonly name: string;
  readonly buffers: readonly BufferDeclaration[];
  readonly sizes: readonly { readonly name: string; readonly type: 'u32' | 'f32' | 'i32' }[];
  readonly threads: number;
  readonly solo: boolean;
  readonly code: Code;
}

/** Constants that a program is compiled for: sizes of its arrays, options that choose its code. */
export type Constants = Readonly<Record<string, number | boolean>>;

const words = (text: string): string[] => text.split(' ').filter((word) => word !== '');

/** Reads a declaration. */
export function program({ name, writes, reads, sizes, threads, solo = false, code }: ProgramText): Program {
  const buffer =
    (isWritten: boolean) =>
    (word: string): BufferDeclaration => {
      const [name = '', element = 'f32'] = word.split(':');
      return { name, element: element as Element, isWritten };
    };
  const size = (word: string) => {
    const [name = '', type = 'u32'] = word.split(':');
    return { name, type: type as 'u32' | 'f32' | 'i32' };
  };
  const buffers = [...words(writes).map(buffer(true)), ...words(reads).map(buffer(false))];
  return { name, buffers, sizes: words(sizes).map(size), threads, solo, code };
}

/**
 * A program whose invocation n computes element n of N; the body may use `n`. `sizes` need not name N.
 * @param uses  WGSL functions that the body calls
 */
export function map(
  name: string,
  writes: string,
  reads: string,
  sizes: string,
  body: string,
  uses: Code = '',
): Program {
  const code = (constants: Constants): string => `${textOf(uses, constants)}
fn kernel(group: u32, lane: u32) {
  let n = group * THREADS + lane;
  if (n >= p.N) { return; }
  ${body}
}`;
  return program({ name, writes, reads, sizes: `N ${sizes}`, threads: 256, code });
}

/** What decides how programs are written for an adapter. */
export interface Execution {
  /** Whether it is a program on the CPU, where barriers are to be avoided: see `ProgramText.solo`. */
  readonly isSoftware: boolean;
  /** Whether WGSL has the functions `subgroup...` and `quad...`. */
  readonly hasSubgroups: boolean;
}

/** Whether a program runs without its workgroup: each of its groups by a quad of invocations, or by one alone. */
const isAlone = (of: Program, { isSoftware }: Execution): boolean => of.solo && isSoftware;

/** Groups of a program that one workgroup takes: one, or as many as it has invocations where each works alone. */
export const groupsTogether = (of: Program, execution: Execution): number =>
  isAlone(of, execution) && !execution.hasSubgroups ? ALONE_TOGETHER : 1;

const ALONE_TOGETHER = 64;

/** Workgroups of a `map` over N elements. */
export const mapGroups = (N: number): number => Math.ceil(N / 256);

/** For each buffer of a program the number of the memory that it lies in, or -1 where it is absent. */
export type Layout = readonly number[];

const STORAGE: Record<Element, string> = { f32: 'f32', i32: 'i32', u8: 'u32' };

/** The functions by which a program reads and writes one buffer. */
function accessors({ name, element, isWritten }: BufferDeclaration, slot: number): string {
  const type = element === 'u8' ? 'u32' : element;
  const lines = [`const has_${name} = ${slot >= 0};`];
  if (slot < 0) {
    lines.push(`fn ${name}_at(n: u32) -> ${type} { return ${type}(0); }`);
    if (isWritten) {
      lines.push(`fn ${name}_set(n: u32, value: ${type}) {}`, `fn ${name}_add(n: u32, value: ${type}) {}`);
    }
    return lines.join('\n');
  }
  const at = `memory${slot}[p.offset_${name} + n]`;
  if (element === 'u8') {
    lines.push(
      `fn ${name}_at(n: u32) -> u32 {`,
      `  let byte = p.offset_${name} + n;`,
      `  return (memory${slot}[byte >> 2u] >> (8u * (byte & 3u))) & 255u;`,
      '}',
    );
    return lines.join('\n');
  }
  lines.push(`fn ${name}_at(n: u32) -> ${type} { return ${at}; }`);
  if (isWritten) {
    lines.push(`fn ${name}_set(n: u32, value: ${type}) { ${at} = value; }`);
    lines.push(`fn ${name}_add(n: u32, value: ${type}) { ${at} += value; }`);
  }
  return lines.join('\n');
}

/** Whether each memory of a layout is written, in the order of their numbers. */
export function writtenMemories({ buffers }: Program, layout: Layout): boolean[] {
  const written: boolean[] = [];
  buffers.forEach(({ isWritten }, k) => {
    const slot = layout[k]!;
    if (slot >= 0) written[slot] = (written[slot] ?? false) || isWritten;
  });
  return written;
}

const TOGETHER = `fn run(group: u32, lane: u32) {
  if (group < p.groups) { kernel(group, lane); }
}`;
const ALONE = `fn run(group: u32, lane: u32) {
  if (group * ${ALONE_TOGETHER}u + lane < p.groups) { kernel(group * ${ALONE_TOGETHER}u + lane, 0u); }
}`;

const constantText = ([name, value]: [string, number | boolean]): string =>
  typeof value === 'boolean' ? `const ${name} = ${value};` : `const ${name} = ${value}u;`;

/** What a text needs to use; whether all invocations of a subgroup come to a call is for the programs to see to. */
const DIRECTIVES: readonly (readonly [RegExp, string])[] = [
  [/\b(?:subgroup|quad)[A-Z]\w*\(/, 'enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n'],
  [/\bf16\b/, 'enable f16;\n'],
  [
    /\bsubgroup_matrix_/,
    'enable chromium_experimental_subgroup_matrix;\ndiagnostic(off, chromium.subgroup_matrix_uniformity);\n',
  ],
];

const directives = (text: string): string =>
  DIRECTIVES.map(([use, directive]) => (use.test(text) ? directive : '')).join('');

/** The whole WGSL of a program for one layout of its buffers and one set of constants. */
export function wgslOf(of: Program, layout: Layout, constants: Constants, execution: Execution): string {
  const together = groupsTogether(of, execution);
  const threads = together > 1 ? 1 : isAlone(of, execution) ? 4 : of.threads;
  const elements: string[] = [];
  of.buffers.forEach(({ element }, k) => {
    if (layout[k]! >= 0) elements[layout[k]!] ??= STORAGE[element];
  });
  const written = writtenMemories(of, layout);
  const bindings = elements.map(
    (element, slot) =>
      `@group(0) @binding(${slot + 1}) var<storage, ${written[slot] ? 'read_write' : 'read'}> memory${slot}: array<${element}>;`,
  );
  const fields = [
    'groups: u32',
    ...of.sizes.map(({ name, type }) => `${name}: ${type}`),
    ...of.buffers.map(({ name }) => `offset_${name}: u32`),
  ];
  const code = textOf(of.code, { ...constants, THREADS: threads, SUBGROUPS: execution.hasSubgroups });
  const width = code.includes('subgroup_width') ? 'var<private> subgroup_width: u32;' : '';
  return `${directives(code)}${width}struct Parameters { ${fields.join(', ')} }
@group(0) @binding(0) var<uniform> p: Parameters;
${bindings.join('\n')}
const THREADS = ${threads}u;
${Object.entries(constants).map(constantText).join('\n')}
${of.buffers.map((buffer, k) => accessors(buffer, layout[k]!)).join('\n')}
${code}
${together > 1 ? ALONE : TOGETHER}
@compute @workgroup_size(${together > 1 ? together : threads})
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
  @builtin(local_invocation_index) lane: u32${width === '' ? '' : ', @builtin(subgroup_size) width: u32'}) {
  ${width === '' ? '' : 'subgroup_width = width;'}
  run(id.x + id.y * count.x, lane);
}
`;
}

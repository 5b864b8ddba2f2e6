/**
 * @file Reads the prototypes of the C ABI out of `native/include/xl.h` and `xl_cuda.h`, so that bindings never disagree with it.
 * It knows how each C type is passed from JavaScript, but does not load or call anything.
 */

/**
 * How an argument is passed:
 * - `float`, `int32`, `uint8`: the address of a device buffer with that data, as a number;
 * - `data`: the same of activations, float or bf16;
 * - `address`: a device address as a number;
 * - `host`: host memory, a typed array;
 * - `string`: text;
 * - `number`: a number.
 */
export type ArgumentKind = 'float' | 'data' | 'int32' | 'uint8' | 'address' | 'host' | 'string' | 'number';

export interface Argument {
  readonly name: string;
  /** As written in C, without comments: `const float *`. */
  readonly type: string;
  readonly kind: ArgumentKind;
  /** What koffi is told: device addresses are plain integers to it. */
  readonly koffiType: string;
}

export interface Prototype {
  readonly name: string;
  /** `int` (a status), `int32_t` or `const char *`. */
  readonly result: string;
  readonly arguments: readonly Argument[];
}

const BY_TYPE: Record<string, { kind: ArgumentKind; koffiType: string }> = {
  'float *': { kind: 'float', koffiType: 'uintptr_t' },
  'xl_data *': { kind: 'data', koffiType: 'uintptr_t' },
  'int32_t *': { kind: 'int32', koffiType: 'uintptr_t' },
  'uint8_t *': { kind: 'uint8', koffiType: 'uintptr_t' },
  uintptr_t: { kind: 'address', koffiType: 'uintptr_t' },
  'double *': { kind: 'host', koffiType: 'void *' },
  'void *': { kind: 'host', koffiType: 'void *' },
  'char *': { kind: 'string', koffiType: 'const char *' },
  float: { kind: 'number', koffiType: 'float' },
  double: { kind: 'number', koffiType: 'double' },
  int32_t: { kind: 'number', koffiType: 'int32_t' },
  uint32_t: { kind: 'number', koffiType: 'uint32_t' },
  int64_t: { kind: 'number', koffiType: 'int64_t' },
};

/**
 * All functions marked XL_API, in the order of the header.
 * @param text the text of xl.h
 * @throws Error if a declaration cannot be read, quoting it.
 */
export function parseHeader(text: string): Prototype[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, ' ').replace(/^\s*#.*$/gm, ' ');
  return [...code.matchAll(/\bXL_API\b[^;]*;/g)].map(([whole]) => parsePrototype(whole.replace(/\s+/g, ' ')));
}

function parsePrototype(declaration: string): Prototype {
  const match = /^XL_API (.+?)\b(xl_\w+) ?\((.*)\) ?;$/.exec(declaration);
  if (!match) throw new Error(`xl.h: cannot read the declaration "${declaration}"`);
  const [, result = '', name = '', list = ''] = match;
  const texts = list.trim() === 'void' ? [] : list.split(',');
  return { name, result: result.trim(), arguments: texts.map((text) => parseArgument(name, text.trim())) };
}

function parseArgument(functionName: string, text: string): Argument {
  const match = /^(.*?[ *])(\w+)$/.exec(text);
  const type = (match?.[1] ?? '').trim();
  const how = BY_TYPE[type.replace(/^const /, '')];
  if (!match || !how) {
    const known = Object.keys(BY_TYPE).join(', ');
    throw new Error(`xl.h: ${functionName}: cannot read the argument "${text}"; it needs a name and one of ${known}`);
  }
  return { name: match[2] ?? '', type, ...how };
}

/**
 * What `xl_abi_version()` must give: a hash (FNV-1a, 31 bits) of the prototypes, as native/tools/header.mjs computes it
 * for the build.
 */
export function abiVersion(prototypes: readonly Prototype[]): number {
  const signatures = prototypes.map(
    ({ name, result, arguments: list }) => `${result} ${name}(${list.map((a) => `${a.type} ${a.name}`).join(', ')})`,
  );
  let hash = 0x811c9dc5;
  for (const char of signatures.join('\n')) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  return hash & 0x7fffffff;
}

/** `layernormForward` -> `xl_layernorm_forward`. */
export function functionName(kernel: string): string {
  return `xl_${snakeCase(kernel)}`;
}

/**
 * The C spelling of a name of the contract: `weightOffset` -> `weight_offset`. Names that are symbols of the formulas
 * keep their spelling: those that begin with a capital or have one letter before it (`Cout`, `dCin`, `DH`, `do_`).
 */
export function snakeCase(name: string): string {
  if (/^(d?[A-Z]|do_$)/.test(name)) return name;
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

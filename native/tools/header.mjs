/**
 * @file Reads the prototypes of xl.h for the build: the dispatcher and the replay program are generated from them.
 * The package's own reader, for binding at run time, is src/device/native/header.ts.
 */

/**
 * @typedef {{ type: string, name: string }} Parameter
 * @typedef {{ name: string, result: string, parameters: Parameter[], kernel: boolean }} Prototype
 */

/** Calls of the library that are not kernels; everything else in xl.h is dispatched by instruction set. */
const LIBRARY_CALLS = new Set([
  'xl_last_error',
  'xl_abi_version',
  'xl_isa',
  'xl_set_isa',
  'xl_set_threads',
  'xl_get_threads',
  'xl_alloc',
  'xl_free',
  'xl_trim',
  'xl_write',
  'xl_read',
  'xl_map_file',
  'xl_unmap_file',
  'xl_capture_begin',
  'xl_capture_end',
  'xl_graph_launch',
  'xl_graph_destroy',
  'xl_collect_begin',
  'xl_collect_end',
  // of xl_cuda.h
  'xl_open_device',
  'xl_device_name',
  'xl_device_info',
  'xl_memory_info',
  'xl_load_cublaslt',
  'xl_cublaslt_path',
  'xl_cublaslt_version',
  'xl_limit_capability',
  'xl_poison_workspace',
  'xl_synchronize',
  'xl_event_create',
  'xl_event_record',
  'xl_event_elapsed',
  'xl_event_destroy',
  'xl_cast_to_bf16',
  'xl_cast_from_bf16',
  'xl_clip_scale',
  'xl_adamw_recorded',
]);

/**
 * @param {string} text the text of xl.h
 * @returns {Prototype[]} in the order of the header
 * @throws {Error} if a declaration marked XL_API cannot be read
 */
export function parseHeader(text) {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, ' ').replace(/^\s*#.*$/gm, ' ');
  const prototypes = [];
  for (const [whole] of code.matchAll(/\bXL_API\b[^;]*;/g)) {
    const declaration = whole.replace(/\s+/g, ' ').trim();
    const match = /^XL_API (.+?)\b(xl_\w+) ?\((.*)\) ?;$/.exec(declaration);
    if (!match) throw new Error(`xl.h: cannot read the declaration "${declaration}"`);
    const [, result = '', name = '', list = ''] = match;
    const parameters = list.trim() === 'void' ? [] : list.split(',').map(parseParameter);
    prototypes.push({ name, result: result.trim(), parameters, kernel: !LIBRARY_CALLS.has(name) });
  }
  if (prototypes.length === 0) throw new Error('xl.h: no XL_API declarations found');
  return prototypes;
}

/**
 * @param {string} text such as "const float *x"
 * @returns {Parameter}
 */
function parseParameter(text) {
  const match = /^(.*?[ *])(\w+)$/.exec(text.trim());
  if (!match) throw new Error(`xl.h: cannot read the parameter "${text.trim()}"; it needs a type and a name`);
  return { type: (match[1] ?? '').replace(/\s+/g, ' ').trim(), name: match[2] ?? '' };
}

/**
 * The ABI version: a hash (FNV-1a, 31 bits) of the prototypes, so that a library and a package that do not have the same
 * header refuse each other, whatever was forgotten.
 * @param {string} text the text of xl.h
 */
export function abiVersion(text) {
  const signatures = parseHeader(text).map(
    ({ name, result, parameters }) => `${result} ${name}(${parameters.map((p) => `${p.type} ${p.name}`).join(', ')})`,
  );
  let hash = 0x811c9dc5;
  for (const char of signatures.join('\n')) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  return hash & 0x7fffffff;
}

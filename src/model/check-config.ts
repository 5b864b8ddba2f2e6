/**
 * @file Checks a configuration against its schema; a wrong field or value names itself and the nearest right one.
 */
import * as z from 'zod';

/** A configuration that does not fit its schema; the message has one line per fault. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/**
 * The value with defaults filled in.
 * @param what  where it comes from, for the message: "run.yaml"
 * @throws ConfigError naming each wrong field.
 */
export function checkConfig<S extends z.ZodType>(schema: S, value: unknown, what: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const lines = result.error.issues.flatMap((issue) => describe(issue, schema, value));
  throw new ConfigError(`${what}: ${lines.join(`\n${what}: `)}`);
}

function describe(issue: z.core.$ZodIssue, schema: z.ZodType, value: unknown): string[] {
  const path = issue.path.map(String);
  const at = path.join('.');
  if (issue.code === 'unrecognized_keys') {
    const fields = fieldsOf(schemaAt(schema, path));
    return issue.keys.map((key) => `unknown field "${[...path, key].join('.')}"${suggestion(key, fields)}`);
  }
  const actual = valueAt(value, path);
  if (issue.code === 'invalid_value' && issue.values.length > 1) {
    const options = issue.values.map(String);
    const nearest = typeof actual === 'string' ? suggestion(actual, options) : '';
    return [`${at}: ${show(actual)} is not one of ${options.join(', ')}${nearest}`];
  }
  return [`${at === '' ? 'configuration' : at}: ${issue.message}, got ${show(actual)}`];
}

const show = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value));

function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (at, key) => (typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[key] : undefined),
    value,
  );
}

/** The object schema at a path, seen through defaults and optionals; null where there is none. */
export function schemaAt(schema: z.ZodType, path: readonly string[]): z.ZodType | null {
  let at: z.ZodType | undefined = schema;
  for (const key of path) {
    const object = unwrap(at);
    if (object instanceof z.ZodArray) at = object.element as z.ZodType;
    else if (object instanceof z.ZodObject) at = object.shape[key] as z.ZodType | undefined;
    else return null;
    if (at === undefined) return null;
  }
  return at;
}

/** The schema inside defaults, optionals and nullables. */
export function unwrap(schema: z.ZodType): z.ZodType {
  let at = schema;
  while (
    at instanceof z.ZodDefault ||
    at instanceof z.ZodPrefault ||
    at instanceof z.ZodOptional ||
    at instanceof z.ZodNullable ||
    at instanceof z.ZodReadonly
  ) {
    at = at.unwrap() as z.ZodType;
  }
  return at;
}

function fieldsOf(schema: z.ZodType | null): string[] {
  const object = schema === null ? null : unwrap(schema);
  return object instanceof z.ZodObject ? Object.keys(object.shape) : [];
}

/** "; did you mean "dim"?", or the list of what there is, or nothing. */
export function suggestion(word: string, options: readonly string[]): string {
  if (options.length === 0) return '';
  const ranked = options
    .map((option) => ({ option, distance: editDistance(word.toLowerCase(), option.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0]!;
  if (best.distance <= Math.max(2, Math.floor(word.length / 2))) return `; did you mean "${best.option}"?`;
  return `; there are ${options.join(', ')}`;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replace, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

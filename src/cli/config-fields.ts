/** @file The fields of a configuration as rows for people: path, type, default, meaning. Read from the schema itself. */
import * as z from 'zod';
import { unwrap } from '../model/check-config.js';

export interface ConfigField {
  readonly path: string;
  /** "whole number from 1", "one of cosine, linear", ... */
  readonly type: string;
  /** As YAML would have it; null for a group. */
  readonly fallback: string | null;
  readonly description: string;
}

/** All fields of an object schema, groups before their members. */
export function configFields(schema: z.ZodType, prefix = ''): ConfigField[] {
  const object = unwrap(schema);
  if (!(object instanceof z.ZodObject)) return [];
  return Object.entries(object.shape).flatMap(([name, field]) => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    const type = field as z.ZodType;
    const inner = unwrap(type);
    const description = type.description ?? inner.description ?? '';
    const members = inner instanceof z.ZodArray ? unwrap(inner.element as z.ZodType) : inner;
    if (members instanceof z.ZodObject) {
      const inside = inner instanceof z.ZodArray ? `${path}[]` : path;
      return [{ path: inside, type: 'group', fallback: null, description }, ...configFields(members, inside)];
    }
    return [{ path, type: typeName(inner), fallback: defaultOf(type), description }];
  });
}

function typeName(schema: z.ZodType): string {
  if (schema instanceof z.ZodEnum) return `one of ${schema.options.join(', ')}`;
  if (schema instanceof z.ZodBoolean) return 'true or false';
  if (schema instanceof z.ZodString) return 'text';
  if (schema instanceof z.ZodArray) return `list of ${typeName(unwrap(schema.element as z.ZodType))}`;
  if (schema instanceof z.ZodNumber) return numberType(schema);
  return 'value';
}

function numberType(schema: z.ZodNumber): string {
  const { type, minimum, exclusiveMinimum, maximum } = z.toJSONSchema(schema);
  const bounds = [
    exclusiveMinimum === undefined ? '' : ` above ${exclusiveMinimum}`,
    minimum === undefined ? '' : ` from ${minimum}`,
    // Whole numbers always have the largest safe integer as a bound.
    maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER ? '' : ` to ${maximum}`,
  ];
  return (type === 'integer' ? 'whole number' : 'number') + bounds.join('');
}

function defaultOf(schema: z.ZodType): string | null {
  const result = schema.safeParse(undefined);
  return result.success ? JSON.stringify(result.data) : null;
}

/** The fields as aligned text for a terminal. */
export function formatFields(fields: readonly ConfigField[]): string {
  return fields
    .map(({ path, type, fallback, description }) =>
      fallback === null ? `\n${path}: ${description}` : `  ${path} = ${fallback}\n      ${description} (${type})`,
    )
    .join('\n');
}

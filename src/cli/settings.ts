/** @file A run's configuration from the command line: a YAML file, a preset, `--set path=value`, in this order. */
import fs from 'node:fs';
import { parse, YAMLParseError } from 'yaml';
import { ConfigError } from '../model/check-config.js';

type Tree = { [name: string]: unknown };

/** Reads a YAML (or JSON) file whose top level is a mapping. @throws ConfigError naming file and line. */
export function readConfigFile(file: string): Tree {
  let value: unknown;
  try {
    value = parse(fs.readFileSync(file, 'utf8')) ?? {};
  } catch (error) {
    if (error instanceof YAMLParseError) throw new ConfigError(`${file}: ${error.message.split('\n')[0]}`);
    throw new ConfigError(`${file}: cannot be read (${(error as Error).message})`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ConfigError(`${file}: must hold fields such as "model:" and "training:" at its top level`);
  }
  return value as Tree;
}

/**
 * One `--set`: "model.dim=256". The value is read as YAML, so lists are "[mlstm, slstm]".
 * @throws ConfigError when there is no "=" or the path is empty.
 */
export function applySetting(tree: Tree, setting: string): void {
  const equals = setting.indexOf('=');
  if (equals <= 0) throw new ConfigError(`--set ${setting}: write path=value, for example --set model.dim=256`);
  let value: unknown;
  try {
    value = parse(setting.slice(equals + 1));
  } catch {
    throw new ConfigError(`--set ${setting}: the value is not YAML; quote it if it has special characters`);
  }
  assign(tree, setting.slice(0, equals).trim(), value);
}

/** Sets a field by its dotted path. */
export function assign(tree: Tree, path: string, value: unknown): void {
  const names = path.split('.');
  const last = names.pop()!;
  let at = tree;
  for (const name of names) {
    const inner = at[name];
    const next = typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? { ...(inner as Tree) } : {};
    at[name] = next;
    at = next;
  }
  at[last] = value;
}

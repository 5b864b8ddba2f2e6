/**
 * @file The experiments that come with the package: folders of `experiments/`, each with a README and settings as files
 * `small.yaml`, `paper.yaml` and so on, in the form of compare.yaml. It reads no settings.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suggestion } from '../model/check-config.js';

/** From the sources and from the built package alike. */
const FOLDER = fileURLToPath(new URL('../../experiments', import.meta.url));

export interface ShippedExperiment {
  readonly name: string;
  /** First heading of its README. */
  readonly title: string;
  readonly readme: string;
  /** Names of its settings, `small` first. */
  readonly presets: readonly string[];
}

export function shippedExperiments(folder = FOLDER): ShippedExperiment[] {
  const names = fs.readdirSync(folder).filter((name) => fs.existsSync(path.join(folder, name, 'README.md')));
  return names.toSorted().map((name) => {
    const readme = fs.readFileSync(path.join(folder, name, 'README.md'), 'utf8');
    const files = fs.readdirSync(path.join(folder, name)).filter((file) => file.endsWith('.yaml'));
    const presets = files.map((file) => file.slice(0, -'.yaml'.length)).toSorted();
    return {
      name,
      title: /^# (.+)$/m.exec(readme)?.[1] ?? name,
      readme,
      presets: [...presets.filter((preset) => preset === 'small'), ...presets.filter((preset) => preset !== 'small')],
    };
  });
}

/**
 * Path of the settings of an experiment.
 * @throws RangeError naming what there is.
 */
export function experimentFile(name: string, preset: string, folder = FOLDER): string {
  const all = shippedExperiments(folder);
  const found = all.find((experiment) => experiment.name === name);
  const names = all.map((experiment) => experiment.name);
  if (found === undefined)
    throw new RangeError(`experiment: there is no "${name}"${suggestion(name, names)}; there are ${names.join(', ')}`);
  if (!found.presets.includes(preset))
    throw new RangeError(`experiment ${name}: there is no preset "${preset}"; there are ${found.presets.join(', ')}`);
  return path.join(folder, name, `${preset}.yaml`);
}

/**
 * @file Writes docs/configuration.md from the schema of the configuration and the presets:
 *
 *     npx tsx docs/generate-configuration.ts
 *
 * The words about a field are those of its schema (src/train/config.ts, src/model/config.ts); change them there.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { configFields, type ConfigField } from '../src/cli/config-fields.js';
import { countParameters } from '../src/layers/parameter.js';
import { parameterTable } from '../src/model/language-model.js';
import { presetConfig, presetNames } from '../src/model/presets.js';
import { runConfigSchema } from '../src/train/config.js';

const file = fileURLToPath(new URL('configuration.md', import.meta.url));

const OPENING = `<!-- Made by docs/generate-configuration.ts; do not edit. -->

# Configuration

Every field of a training run. \`npx xlstm train --help-config\` prints the same, \`--print-config\` what a command line comes
to. A field that is left out has its default; a field that does not exist, or a value that does not fit, is an error that
names it and the nearest right one.

Later ones win: the defaults; \`--preset\`; the file of \`--config\` (YAML or JSON); options such as \`--steps\`; \`--set\`.
The values of \`--set\` are YAML:

\`\`\`sh
npx xlstm train book.txt --set "model.blocks=[mlstm, slstm]" model.dim=64 training.steps=5 samples.everySteps=0
\`\`\`

A run folder holds the whole of it as \`config.yaml\`, which is a file for \`--config\` again (with another \`--name\`).
From code, \`Run.start\` takes the same fields as an object.
`;

const escapeCell = (text: string): string => text.replaceAll('|', '\\|');

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(escapeCell).join(' | ')} |`).join('\n');

/** A row: the field by its last name, its default as YAML has it, its meaning and what it may be. */
function fieldRow({ path, type, fallback, description }: ConfigField): string[] {
  return [`\`${path}\``, `\`${fallback}\``, `${description} _${type}_`];
}

function fieldSections(): string {
  const fields = configFields(runConfigSchema);
  const isGroup = ({ fallback }: ConfigField): boolean => fallback === null;
  const head = ['field', 'default', 'meaning'];
  const groupOf = (path: string): string => path.split('.').slice(0, -1).join('.');
  const rowsOf = (group: string): string[][] =>
    fields.filter((field) => !isGroup(field) && groupOf(field.path) === group).map(fieldRow);
  const sections = fields
    .filter(isGroup)
    .map(({ path, description }) => `## ${path}\n\n${description}\n\n${table(head, rowsOf(path))}\n`);
  return `## The run\n\n${table(head, rowsOf(''))}\n\n${sections.join('\n')}`;
}

const millions = (count: number): string => (count / 1e6).toFixed(count < 1e6 ? 3 : 1);

function presetSection(): string {
  const parts = presetNames.flatMap((name) => {
    const match = /^xlstm(\[.+\])-(.+)$/.exec(name);
    return match === null ? [] : [match.slice(1) as [string, string]];
  });
  const sizes = [...new Set(parts.map(([, size]) => size))];
  const ratios = [...new Set(parts.map(([ratio]) => ratio))];
  const rows = sizes.map((size) => {
    const counts = ratios.map((ratio) =>
      millions(countParameters(parameterTable(presetConfig(`xlstm${ratio}-${size}`)))),
    );
    const { dim, blocks = [], vocabSize = 257 } = presetConfig(`xlstm[1:0]-${size}`);
    return [`\`${size}\``, ...[dim, blocks.length, vocabSize].map(String), ...counts];
  });
  return `## Presets

A preset is \`xlstm[a:b]-size\`: a mLSTM blocks to b sLSTM blocks. It sets \`model.dim\` and \`model.blocks\`; the published
sizes also set \`model.vocabSize\`, which training replaces by that of the tokenizer. xLSTM[1:1] alternates; [7:1] has its
sLSTM blocks where the paper has them, in the small sizes one as the second block. Parameters in millions, with the
vocabulary of the table (257 is that of bytes):

${table(['size', 'width', 'blocks', 'vocabulary', ...ratios.map((ratio) => ratio)], rows)}
`;
}

function largeSection(): string {
  const names = presetNames.filter((name) => name.startsWith('xlstm-large-'));
  const rows = names.map((name) => {
    const config = presetConfig(name);
    const { dim = 256, blocks = [], vocabSize = 257, mlstmLarge } = config;
    const count = millions(countParameters(parameterTable(config)));
    return [`\`${name}\``, ...[dim, blocks.length, mlstmLarge!.heads!, vocabSize].map(String), count];
  });
  return `The presets of xLSTM Large, the architecture of xLSTM-7B, also set norms, soft caps and the feed-forward layer:

${table(['preset', 'width', 'blocks', 'heads', 'vocabulary', 'parameters'], rows)}
`;
}

/** The document as it should be. */
export async function configurationDocument(): Promise<string> {
  const options = await resolveConfig(file);
  return format(
    `${OPENING}\n${fieldSections()}\n${presetSection()}
${largeSection()}`,
    { ...options, filepath: file },
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const text = await configurationDocument();
  if (text === readFileSync(file, { encoding: 'utf8', flag: 'a+' })) console.log('docs/configuration.md is up to date');
  else {
    writeFileSync(file, text);
    console.log('wrote docs/configuration.md');
  }
}

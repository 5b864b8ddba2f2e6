/**
 * @file Writes the table of docs/mixers.md from the registry:
 *
 *     npx tsx docs/generate-mixers.ts
 *
 * The words about a mixer are those of its file in src/mixers; change them there. The text around the table is the document's.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { formatCount } from '../src/format.js';
import { countParameters } from '../src/layers/parameter.js';
import { stateSize } from '../src/mixers/mixer.js';
import { findMixer, mixerNames } from '../src/mixers/registry.js';
import { createBlock, placeOf } from '../src/model/block.js';
import { modelConfigSchema } from '../src/model/config.js';

const file = fileURLToPath(new URL('mixers.md', import.meta.url));
const [BEGIN, END] = ['<!-- table: made by docs/generate-mixers.ts -->', '<!-- end of the table -->'];

const DIM = 256;
/** Length of the sequence that operations are counted over. */
const STEPS = 1024;
const BEHIND = {
  none: '–',
  layer: 'feed-forward',
  channelMix: 'channel mix',
  plainChannelMix: 'channel mix, no gate',
} as const;

function row(name: string): string {
  const definition = findMixer(name)!;
  const config = modelConfigSchema.parse({ dim: DIM, blocks: [name, name] });
  const { mixer } = createBlock(config, placeOf(config, 1));
  const cells = [
    `\`${name}\``,
    definition.summary,
    BEHIND[definition.feedForward],
    mixer.causal ? 'yes' : 'no',
    formatCount(countParameters(mixer.parameters)),
    formatCount(stateSize(mixer)),
    formatCount(mixer.flopsPerToken(STEPS)),
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

const HEAD = `| mixer | what it is | behind it | causal | parameters | state | operations per token |
| --- | --- | --- | --- | --: | --: | --: |`;

/** The document as it should be. */
export async function mixersDocument(): Promise<string> {
  const text = readFileSync(file, 'utf8');
  const [before, rest] = text.split(BEGIN);
  const after = rest?.split(END)[1];
  if (after === undefined) throw new Error(`docs/mixers.md: has no lines "${BEGIN}" and "${END}"`);
  const table = [HEAD, ...mixerNames().map(row)].join('\n');
  const options = await resolveConfig(file);
  return format(`${before}${BEGIN}\n\n${table}\n\n${END}${after}`, { ...options, filepath: file });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const text = await mixersDocument();
  if (text === readFileSync(file, 'utf8')) console.log('docs/mixers.md is up to date');
  else {
    writeFileSync(file, text);
    console.log('wrote docs/mixers.md');
  }
}

/** @file `xlstm convert`: a model from one library's layout into another's. */
import fs from 'node:fs';
import path from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { formatBytes } from '../format.js';
import { copyGenerationConfig } from '../generate/generation-config.js';
import { convertModel, type ConvertTarget } from '../model/formats/convert.js';
import { openModelSource } from '../model/formats/open.js';
import { loadTokenizer } from '../tokens/load.js';
import { copyTokenizerFiles } from '../tokens/tokenizer-files.js';
import { writeFolderAtomically } from '../train/atomic-folder.js';
import { resolveModelFolder } from '../train/run-folder.js';
import { interruptSignal } from './interrupt.js';
import { sourceBackendOption } from './options.js';
import { WorkProgress } from './work-progress.js';

interface Options {
  to: ConvertTarget;
  dtype?: 'float32' | 'bfloat16' | 'float16';
  weightMode?: 'single' | 'fused';
  maxShardSize?: number;
  sourceBackend?: 'vanilla' | 'cuda';
}

const DTYPES = { float32: 'F32', bfloat16: 'BF16', float16: 'F16' } as const;

export function convertCommand(): Command {
  return new Command('convert')
    .description("Write a model in another library's layout. Nothing is lost: elements keep their bits.")
    .argument('<in>', 'a run (its best checkpoint), a checkpoint, or a model folder of Hugging Face or NX-AI')
    .argument('<out>', 'the folder to write')
    .addOption(
      new Option('--to <layout>', 'Hugging Face transformers, the NX-AI/xlstm package, or this library')
        .choices(['hf', 'nxai', 'native'])
        .makeOptionMandatory(),
    )
    .addOption(new Option('--dtype <type>', 'type of the elements (default: as they are)').choices(Object.keys(DTYPES)))
    .addOption(
      new Option('--weight-mode <mode>', 'xLSTM Large: single matrices, or those of one input joined').choices([
        'single',
        'fused',
      ]),
    )
    .option('--max-shard-size <size>', 'split the tensors into files of at most this size, as in 5GB or 500MB', bytesOf)
    .addOption(sourceBackendOption())
    .addHelpText(
      'after',
      `
Tokenizer files and generation_config.json are copied. A model that goes back to the layout it came from gets the same
bytes again.

Examples:
  xlstm convert xLSTM-7b xlstm-7b --to native
  xlstm convert runs/sotu sotu-nxai --to nxai`,
    )
    .action(convert);
}

function bytesOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)b?$/i.exec(text.trim());
  const bytes = match === null ? 0 : Number(match[1]) * { '': 1, k: 1e3, m: 1e6, g: 1e9 }[match[2]!.toLowerCase()]!;
  if (bytes >= 1) return Math.floor(bytes);
  throw new InvalidArgumentError('It must be a size such as 5GB or 500MB.');
}

async function convert(input: string, out: string, options: Options): Promise<void> {
  if (fs.existsSync(out)) throw new Error(`convert: ${out} exists already; give a folder that is not there yet`);
  const { to, dtype, weightMode, maxShardSize: maxShardBytes, sourceBackend } = options;
  const folder = resolveModelFolder(input);
  using source = openModelSource(folder, sourceBackend && { sourceBackend });
  const { signal, release } = interruptSignal(() => process.stderr.write('\nstopping ...\n'));
  let format: string = to;
  await writeFolderAtomically(
    out,
    async (unfinished) => {
      using progress = new WorkProgress(`writing ${path.basename(out)}`);
      const onProgress = (share: number): void => {
        signal.throwIfAborted();
        progress.update(share);
      };
      const fields = to === 'hf' ? await specialTokens(folder) : {};
      const types = { dtype: dtype && DTYPES[dtype], weightMode, maxShardBytes };
      format = await convertModel(source, unfinished, to, { ...types, fields, onProgress });
      copyTokenizerFiles(folder, unfinished);
      copyGenerationConfig(folder, unfinished);
    },
    'the model',
  );
  release();
  const bytes = fs.readdirSync(out).reduce((sum, name) => sum + fs.statSync(path.join(out, name)).size, 0);
  process.stdout.write(`${out}: ${source.format} -> ${format}, ${formatBytes(bytes)}\n`);
}

/** Ids of special tokens, as Hugging Face has them in config.json. */
async function specialTokens(folder: string): Promise<Record<string, unknown>> {
  if (!fs.existsSync(path.join(folder, 'tokenizer.json'))) return {};
  const { bosId, eosId, padId } = await loadTokenizer(folder);
  return { bos_token_id: bosId, eos_token_id: eosId, pad_token_id: padId };
}

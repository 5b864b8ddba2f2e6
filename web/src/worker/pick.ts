/** @file Finds the model among files that were picked: a model folder, or a run of the command with its checkpoints. */
import type { PickedFile } from '../protocol.js';

export interface PickedModel {
  /** The folder's name, for people. */
  readonly name: string;
  /** The files of the model folder, by name. */
  readonly files: ReadonlyMap<string, File>;
}

const NEEDED = 'config.json';

/**
 * As `xlstm generate` does: of a run its best checkpoint, else the folder itself.
 * @throws Error in a sentence when there is no model among them.
 */
export async function pickModel(picked: readonly PickedFile[]): Promise<PickedModel> {
  const folders = new Map<string, PickedFile[]>();
  for (const one of picked) {
    const folder = one.path.split('/').slice(0, -1).join('/');
    folders.set(folder, [...(folders.get(folder) ?? []), one]);
  }
  const models = [...folders].filter(([, files]) => hasModel(files)).map(([folder]) => folder);
  const checkpoints = models.filter((folder) => /(^|\/)checkpoints\/\d+$/.test(folder));
  const chosen =
    checkpoints.length > 0 ? await best(checkpoints, folders) : models.sort((a, b) => depth(a) - depth(b))[0];
  if (chosen === undefined) throw new Error(noModel(picked));
  const files = new Map(folders.get(chosen)!.map(({ path, file }) => [path.split('/').at(-1)!, file]));
  const name = chosen
    .replace(/(^|\/)checkpoints\/\d+$/, '')
    .split('/')
    .at(-1);
  return { name: name === undefined || name === '' ? 'a model of yours' : name, files };
}

const depth = (folder: string): number => folder.split('/').length;

const hasModel = (files: readonly PickedFile[]): boolean =>
  files.some(({ file }) => file.name === NEEDED) && files.some(({ file }) => file.name.endsWith('.safetensors'));

/** The checkpoint with the lowest loss on held-out text, as the last one tells, or the last. */
async function best(
  checkpoints: readonly string[],
  folders: ReadonlyMap<string, readonly PickedFile[]>,
): Promise<string> {
  const stepOf = (folder: string): number => Number(folder.split('/').at(-1));
  const last = checkpoints.reduce((a, b) => (stepOf(a) > stepOf(b) ? a : b));
  const progress = folders.get(last)!.find(({ file }) => file.name === 'training.json');
  if (progress === undefined) return last;
  const { best: found } = JSON.parse(await progress.file.text()) as { best?: { step?: number } | null };
  return checkpoints.find((folder) => stepOf(folder) === found?.step) ?? last;
}

/** Says what is missing, by what is there. */
function noModel(picked: readonly PickedFile[]): string {
  const names = picked.map(({ file }) => file.name);
  const wanted = 'A model is a folder with config.json, model.safetensors and tokenizer.json';
  if (names.length === 0) return `Nothing was picked. ${wanted}.`;
  if (names.includes(NEEDED)) {
    const pickled = names.some((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
    return `There is a config.json but no .safetensors file${pickled ? '; weights in PyTorch’s own format must be converted first' : ''}. ${wanted}.`;
  }
  if (names.length === 1) return `${names[0]} is no model. ${wanted}: pick the folder, or these files together.`;
  return `There is no model among these ${names.length} files. ${wanted}, or a run folder of xlstm train.`;
}

/**
 * @file Zero-shot tasks in the formats of LAMBADA (Paperno et al. 2016, arXiv 1606.06031) and HellaSwag (Zellers et al. 2019,
 * arXiv 1905.07830): reading them, and scoring whoever says how probable a continuation is. It holds no model and no data.
 *
 * The rules are those of the LM evaluation harness, with which arXiv 2405.04517 table 3 was made:
 * - LAMBADA: the context is the text up to its last space, the continuation that space and the last word. Accuracy is the
 *   share of texts where each token of it is the most probable one; perplexity is exp of the mean -log p of the word, whole.
 * - HellaSwag: the choice with the largest sum of log p is the answer (acc); with the sum over the bytes of the choice as
 *   UTF-8, without the space before it, the length does not count (acc_norm). Of equal ones the first. The harness divides by
 *   characters, which is the same for English.
 */
import fs from 'node:fs';
import * as z from 'zod';

/** How probable a continuation is: the sum of log p of its tokens, and whether each is the most probable one. */
export interface Continuation {
  readonly sum: number;
  readonly greedy: boolean;
}

export type ContinuationScorer = (context: string, continuation: string) => Continuation | Promise<Continuation>;

export interface ChoiceItem {
  readonly context: string;
  /** Each follows the context after a space. */
  readonly choices: readonly string[];
  /** Index of the right one. */
  readonly answer: number;
}

export interface LastWordItem {
  readonly context: string;
  /** The last word with the space before it. */
  readonly word: string;
}

export interface ScoreOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told after each item how many are done. */
  readonly onItem?: ((done: number) => void) | undefined;
}

/** An accuracy with the standard error of the mean over items. */
export interface Accuracy {
  readonly accuracy: number;
  readonly standardError: number;
}

export interface ChoiceScore {
  readonly items: number;
  readonly sum: Accuracy;
  readonly perByte: Accuracy;
}

export interface LastWordScore extends Accuracy {
  readonly items: number;
  /** Mean -log p of the word in nats, and exp of it. */
  readonly loss: number;
  readonly perplexity: number;
}

const lambadaLine = z.object({ text: z.string() });

const hellaswagLine = z.object({
  ctx: z.string().optional(),
  ctx_a: z.string().optional(),
  ctx_b: z.string().optional(),
  activity_label: z.string().optional(),
  endings: z.array(z.string()).min(2),
  label: z.union([z.number().int(), z.string().regex(/^\d+$/)]),
});

/** The lines of a .jsonl file as records. @throws Error naming the file or the line. */
function readLines<T>(file: string, schema: z.ZodType<T>, what: string): { record: T; where: string }[] {
  if (!fs.existsSync(file)) throw new Error(`${what}: there is no file ${file}`);
  const lines = fs.readFileSync(file, 'utf8').split('\n');
  const found = lines.flatMap((line, k) => {
    if (line.trim() === '') return [];
    const where = `${file}:${k + 1}`;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (error) {
      throw new Error(`${what}: ${where} is not JSON: ${(error as Error).message}`, { cause: error });
    }
    const { success, data, error } = schema.safeParse(value);
    if (success) return [{ record: data, where }];
    const issue = error.issues[0]!;
    throw new Error(`${what}: ${where}: ${issue.path.join('.') || 'record'}: ${issue.message}`);
  });
  if (found.length === 0) throw new Error(`${what}: ${file} has no records`);
  return found;
}

/** Reads {"text": ...} lines. @throws Error naming a line that is not one, or has a single word. */
export const readLambada = (file: string): LastWordItem[] =>
  readLines(file, lambadaLine, 'lambada').map(({ record, where }) => {
    const text = record.text.trim();
    const at = text.lastIndexOf(' ');
    if (at === -1) throw new Error(`lambada: ${where} has no word before the last one`);
    return { context: text.slice(0, at), word: text.slice(at) };
  });

/**
 * Reads lines of `ctx` (or `ctx_a` and `ctx_b`), `endings`, `label`, and `activity_label` where there is one, which comes
 * before the context. What is left of the markup of how-to pages is taken out.
 * @throws Error naming a line that is not one, or whose label is not the index of an ending.
 */
export const readHellaswag = (file: string): ChoiceItem[] =>
  readLines(file, hellaswagLine, 'hellaswag').map(({ record, where }) => {
    const { ctx, ctx_a: start, ctx_b: rest, activity_label: activity, endings, label } = record;
    const context = start === undefined ? ctx : `${start} ${capitalized(rest ?? '')}`;
    if (context === undefined) throw new Error(`hellaswag: ${where}: there is no ctx and no ctx_a`);
    const answer = Number(label);
    if (answer >= endings.length || answer < 0) {
      throw new Error(`hellaswag: ${where}: label ${label} is not one of ${endings.length} endings, counted from 0`);
    }
    return {
      context: cleaned(activity === undefined ? context : `${activity}: ${context}`),
      choices: endings.map(cleaned),
      answer,
    };
  });

/** The first letter large, all others small, as the harness has it. */
const capitalized = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1).toLowerCase();

const cleaned = (text: string): string =>
  text
    .trim()
    .replaceAll(' [title]', '. ')
    .replaceAll(/\[.*?\]/g, '')
    .replaceAll('  ', ' ');

/** @throws the signal's reason when it aborts. */
export async function scoreChoices(
  items: readonly ChoiceItem[],
  scorer: ContinuationScorer,
  { signal, onItem }: ScoreOptions = {},
): Promise<ChoiceScore> {
  let [bySum, byByte] = [0, 0];
  for (const [done, { context, choices, answer }] of items.entries()) {
    const sums: number[] = [];
    for (const choice of choices) {
      signal?.throwIfAborted();
      sums.push((await scorer(context, ` ${choice}`)).sum);
    }
    const means = sums.map((sum, k) => sum / Buffer.byteLength(choices[k]!, 'utf8'));
    if (sums.indexOf(Math.max(...sums)) === answer) bySum++;
    if (means.indexOf(Math.max(...means)) === answer) byByte++;
    onItem?.(done + 1);
  }
  return { items: items.length, sum: accuracyOf(bySum, items.length), perByte: accuracyOf(byByte, items.length) };
}

/** @throws the signal's reason when it aborts. */
export async function scoreLastWords(
  items: readonly LastWordItem[],
  scorer: ContinuationScorer,
  { signal, onItem }: ScoreOptions = {},
): Promise<LastWordScore> {
  let [right, nats] = [0, 0];
  for (const [done, { context, word }] of items.entries()) {
    signal?.throwIfAborted();
    const { sum, greedy } = await scorer(context, word);
    if (greedy) right++;
    nats -= sum;
    onItem?.(done + 1);
  }
  const loss = nats / items.length;
  return { items: items.length, ...accuracyOf(right, items.length), loss, perplexity: Math.exp(loss) };
}

function accuracyOf(right: number, items: number): Accuracy {
  const accuracy = right / items;
  return { accuracy, standardError: items < 2 ? 0 : Math.sqrt((accuracy * (1 - accuracy)) / (items - 1)) };
}

/**
 * @file Writes docs/tasks.md: the words below, with an example of each task drawn and its options read from its schema.
 *
 *     npx tsx docs/generate-tasks.ts
 *
 * The words about an option are those of its schema in src/data/tasks; change them there.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { configFields } from '../src/cli/config-fields.js';
import { createTask, TASKS } from '../src/data/tasks/registry.js';
import { randomKey } from '../src/tensor/random.js';

const file = fileURLToPath(new URL('tasks.md', import.meta.url));

const OPENING = `<!-- Made by docs/generate-tasks.ts; do not edit. -->

# Tasks

What [\`xlstm compare\`](../experiments/README.md) trains models on, besides text: the tasks of the xLSTM paper
(arXiv 2405.04517). Most are made on the fly from a seed: example n of a set is decided by the set's key and n alone, so all
models of a comparison see the same examples, and no set lies on disk. \`npx xlstm compare --tasks\` prints the list.

\`\`\`sh
npx xlstm compare --tasks
\`\`\`

Each has two presets: \`paper\`, the published settings, and \`small\`, smaller ones. Options go over those
of the preset. Where the paper leaves a rule open, or its code and its words differ, the section says what was decided.

In drawn examples of tokens the first line is what the model reads and the second what it is asked for at each step: \`.\` is
nothing, \`_\` a blank (token 0). Scaled accuracy is (accuracy - chance) / (1 - chance), over all places that are asked for.
`;

interface Section {
  readonly title: string;
  readonly words: string;
  /** Options for the drawn example; null where the task reads files. */
  readonly drawn: Readonly<Record<string, unknown>> | null;
}

const SHORT = { minLength: 16, maxLength: 16 };

const FORMAL = `## Formal languages

Figures 4 and 12 and appendix B.1.1 of the paper; after Delétang et al. 2022 (arXiv 2207.02098). Trained on strings of up to 40
symbols, tested on 40 to 256: all of them (\`test 40-256\`), and in ranges. Scaled accuracy, mean over 2 seeds at the best of
three learning rates; 2 blocks, batch 256, 100 k steps.

What holds for all fifteen, as in the code that was published for four of them:

- A length is uniform and counts the answer. A language that has no string of a length takes the next shorter one.
- Inputs are the string without its last symbol, targets the string without its first: what stands at index n is asked for at
  step n - 1.
- A place that is asked for is shown as a blank. So a later answer is not told the earlier ones; the paper does not say what it
  does where answers have several symbols, and Delétang et al. do it this way.
- Vocabulary sizes and the accuracy of guessing are those of the paper's table. The answers are equally frequent but for
  these: in modular arithmetic 0 is more frequent (0.22 without, 0.27 with brackets, up to 40 symbols), sorted strings, and
  majority count.
`;

const SECTIONS: Readonly<Record<string, Section>> = {
  nearestNeighbour: {
    title: 'Nearest-neighbour search',
    words: `Figure 2 left, appendix B. The first vector is a search key on the unit circle. Each further step brings a vector with a
value; the model says the value that belongs to the vector nearest to the key so far, so it has to revise what it stored.
Measured by the mean square error over all steps but the first.

Steps are (x, y, value). Lengths are uniform up to 64, key included; of vectors of length 1 the nearest has the largest inner
product. The key's value is 0; the paper says that it does not count, not what it is. Published: 8192 sequences to train on and 8192 to validate on,
100 k steps; the batch size is not stated.`,
    drawn: { minLength: 6, maxLength: 6 },
  },
  recall: {
    title: 'Multi-query associative recall',
    words: `MQAR, figures 5 and 14 to 16, appendix B.1.2; Arora et al. 2023 (arXiv 2312.04927). Pairs of key and value, then keys again
among blanks; at each the model says the value.

Keys are tokens 1 to V/2 - 1, values V/2 to V - 1, each without replacement within a sequence. The first 2 KV tokens are
\`k v k v ...\`. What is left is slots of two tokens, of which the first may hold a query; slots are drawn without replacement
with weight 0.01 j^-0.99 for the j-th, so most queries come early. Blanks are token 0 ("grey" in the paper).

**Number of queries:** min(KV, slots). The published generator asks each pair once and refuses 4 KV > T; experiment 2 has a
cell (756, 256) where that does not fit, so there as many pairs, chosen at random, are asked as there are slots (122). At
(1024, 256) all 256 pairs are asked, in as many slots.

| experiment | context length, pairs                                         | tested at        |
| ---------- | ------------------------------------------------------------- | ---------------- |
| 1          | (64, 4), (128, 8), (256, 16)                                  | the same         |
| 2          | 756, 1024, 2048 with 48, 96, 256 each                         | the same         |
| 3          | 2048                                                          | 4096, 6144, 8192 |

Published: V = 8192, 100 k sequences to train on, 3 k to validate on, 64 epochs. \`small\` has 512 tokens. \`testLengths\` are
experiment 3; longer sequences have as many pairs.`,
    drawn: { contextLength: 24, pairs: 3, vocabSize: 64 },
  },
  bucketSort: {
    title: 'Bucket sort',
    words: `Context-sensitive. A string of ten digits' alphabet, then the same sorted. There is no mark between (the paper's vocabulary of
11 has no room for one): the first answer is asked for at the last digit. Lengths are even.`,
    drawn: SHORT,
  },
  missingDuplicate: {
    title: 'Missing duplicate',
    words: `Context-sensitive. A string of nine symbols' alphabet comes twice; one symbol of the second is hidden, at a uniform place, and is
the answer. Lengths are odd. (Delétang et al. hide one in either half, of two symbols.)`,
    drawn: SHORT,
  },
  modularArithmeticBrackets: {
    title: 'Modular arithmetic, with brackets',
    words: `Deterministic context-free. \`expression = result\`, modulo 5. An expression of length 1 to 4 is d, -d, (d), (-d); a longer one
(left operator right) with the length of the left side uniform. Operators are +, - and \`*\`. With \`multiplication: false\` there are no products, as in
the code of arXiv 2411.12537, which matters when numbers are compared.`,
    drawn: SHORT,
  },
  solveEquation: {
    title: 'Solve equation',
    words: `Deterministic context-free. An expression as above with one digit written as x, its value, [ACT], the digit. Without products, as in
Delétang et al., so that there is one solution; the vocabulary of 14 has a symbol for it all the same. Which digit is hidden: the
first one from a random place on.`,
    drawn: SHORT,
  },
  cycleNavigation: {
    title: 'Cycle navigation',
    words:
      'Regular. Moves of 0, +1 and -1 on a cycle of five places from P0 on; the answer is the place where they end.',
    drawn: SHORT,
  },
  evenPairs: {
    title: 'Even pairs',
    words: `Regular. Whether the pairs ab and ba are even in number (a) or not (b), which is whether the first and the last symbol are the
same.`,
    drawn: SHORT,
  },
  modularArithmetic: {
    title: 'Modular arithmetic, without brackets',
    words: `Regular. Digits modulo 5 with + - * between them, products before sums. Lengths are odd.`,
    drawn: SHORT,
  },
  parity: {
    title: 'Parity',
    words: 'Regular. Whether the number of b is even (a) or odd (b).',
    drawn: SHORT,
  },
  majority: {
    title: 'Majority',
    words: `The most frequent of 63 symbols. Where several come equally often, which with up to 40 uniform symbols is the rule, one of
them is written over a random other symbol, so that the answer is one. How the paper resolves ties is not known.`,
    drawn: SHORT,
  },
  majorityCount: {
    title: 'Majority count',
    words: `How often the most frequent of 63 symbols comes; symbol n stands for n, at most 63. In 2000 strings of up
to 40 symbols it is 1 to 5, in as many of 40 to 256 symbols 2 to 16: what is asked for in tests is mostly never seen in training.`,
    drawn: SHORT,
  },
  oddsFirst: {
    title: 'Odds first',
    words: `Context-sensitive. t1 t3 ... t2 t4 ..., after [ACT], of ten symbols. (The code of Delétang et al. says t2 t4 ... first, against its
own words.) Lengths are odd.`,
    drawn: SHORT,
  },
  reverseString: {
    title: 'Reverse string',
    words:
      'Deterministic context-free. The string from its end to its start, after [ACT], of ten symbols. Lengths are odd.',
    drawn: SHORT,
  },
  stackManipulation: {
    title: 'Stack manipulation',
    words: `Deterministic context-free. A stack from bottom to top (ST), then PS (push) and POP, [ACT], and the stack that is left from bottom
to top, as in the paper (Delétang et al. answer from the top). A string of length 2n + 1 has n symbols that are on the stack or
pushed, the first 1 to n of them from the start, and 0 to n - 1 pops, never on an empty stack; each size of the answer, 1 to
n, is equally likely.`,
    drawn: SHORT,
  },
  repetition: {
    title: 'Repetition',
    words: 'The string once more, after [ACT], of ten symbols. Lengths are odd.',
    drawn: SHORT,
  },
  set: {
    title: 'Set',
    words: `The different symbols of a string of 126 symbols' alphabet in the order in which they first came, after [ACT]. Symbols are drawn
until one more would make the string too long, so it may be one symbol short.`,
    drawn: SHORT,
  },
  listops: {
    title: 'ListOps',
    words: `Nangia & Bowman 2018 (arXiv 1804.06028). The value of a nested expression of MIN, MAX, MED (median; of an even number the mean of the
middle two without its fraction) and SM (sum modulo 10): ten classes. Made here in full: a node is a digit with probability
0.75, and at depth 10 always, else an operator with 2 to 10 arguments; trees with more than 500 and less than 2000 tokens count.
96 k trees to train on, 2 k each to validate and test on. Which set a tree may be in is decided by a hash of it, so no tree is
in two. Tokens: blank, ten digits, four operators, "]". Answers 0 and 9 are more frequent (0.17 each): guessing one of
them is better than the 0.1 that papers print.`,
    drawn: { moreThan: 10, lessThan: 40 },
  },
  pathfinder: {
    title: 'Pathfinder',
    words: `Linsley et al. 2018 (arXiv 1805.08315). Whether two discs are joined by a dashed curve; 32 x 32 pixels are 1024 steps. With
\`folder: null\` the images are made here, by own rules: curves of 14 dashes of 1.5 pixels with gaps of 1 that turn by up to 0.5 rad from
one to the next (more where there is no other way) and keep 2.5 pixels apart; two long ones, six short ones to distract as far
as they fit. They look like those of the arena and are not the same: results on one say nothing about the other. With \`folder\`
set to \`pathfinder32/curv_contour_length_14\` of the released data (\`imgs/\`, \`metadata/\`) those are read: 80 % to train on, 10 % each to
validate and test on. 160 k, 20 k and 20 k images.`,
    drawn: { size: 24, contourLength: 9, distractors: 3 },
  },
  image: {
    title: 'Image',
    words: `CIFAR-10 (Krizhevsky 2009), pixel by pixel: 1024 steps, ten classes; 45 k, 5 k and 10 k images. \`pixels: tokens\` is grey (luma of
BT.601) as one of 256 tokens, as in the arena; \`numbers\` grey as a number, as in S4; \`rgb\` three numbers, the paper's
RGB-Image. Reads the binary version, \`data_batch_1.bin\` to \`5\` and \`test_batch.bin\`.`,
    drawn: null,
  },
  textClassification: {
    title: 'Text',
    words: `Whether a film review (Maas et al. 2011) is positive, read byte by byte: token 1 + byte. Left out of the paper's table. Reads
\`train.tsv\` and \`test.tsv\` (label, tab, text; \`validation.tsv\` if there is one), or \`train/pos/*.txt\` and so on, as the
reviews come. Without validation texts a tenth of the training texts is held out, the same for every seed.`,
    drawn: null,
  },
  retrieval: {
    title: 'Retrieval',
    words: `Whether one of two papers (AAN, Radev et al. 2013) cites the other; both are read byte by byte by one model, and what it makes of
them is compared: 147 k pairs to train on, 4000 bytes each. Reads \`new_aan_pairs.train.tsv\`, \`.eval.tsv\` and \`.test.tsv\` of
lra_release, or \`train.tsv\`, \`validation.tsv\` and \`test.tsv\` with lines of label, tab, text, tab, text.`,
    drawn: null,
  },
};

const ARENA = `## Long Range Arena

Table 6 and appendix B; Tay et al. 2020 (arXiv 2011.04006). A long sequence with one class. Paper: 6 blocks (8 for ListOps), width
128 (Pathfinder 192, images 512), 80 k to 500 k steps. Text and Path-X are left out there. Image, text and retrieval read files
that are not made here and not shipped; a task whose files are missing says where it looked.
`;

const ELSEWHERE = `## Tasks on text

The task \`text\` trains a language model on files of yours: validation perplexity, perplexity at several context lengths
(\`lengths\`), and by how often a token stands in the training text (\`frequencies\`: rare-token prediction, figure 2 right).
Perplexity by domain, and zero-shot answers in the formats of LAMBADA and HellaSwag, are measured by \`xlstm eval\`; see
[evaluation](evaluation.md).

## From a program

\`\`\`ts
import { createTask, randomKey } from 'xlstm';

const task = createTask('parity', { maxLength: 12 });
const set = task.train(randomKey(1));
console.log(task.draw(set.example(0)));
\`\`\`
`;

/** Each part of the page with the tasks in it that have a heading of their own below it. */
const PARTS: readonly (readonly [heading: string, tasks: readonly string[]])[] = [
  ['', ['nearestNeighbour', 'recall']],
  [
    FORMAL,
    [
      'bucketSort',
      'missingDuplicate',
      'modularArithmeticBrackets',
      'solveEquation',
      'cycleNavigation',
      'evenPairs',
      'modularArithmetic',
      'parity',
      'majority',
      'majorityCount',
      'oddsFirst',
      'reverseString',
      'stackManipulation',
      'repetition',
      'set',
    ],
  ],
  [ARENA, ['listops', 'pathfinder', 'image', 'textClassification', 'retrieval']],
];

const row = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;

function optionTable(name: string, without: readonly string[] = []): string {
  const { options, presets } = TASKS.get(name)!;
  const { small } = presets;
  const rows = configFields(options)
    .filter(({ path }) => !without.includes(path))
    .map(({ path, fallback, description }) =>
      row([`\`${path}\``, `\`${fallback}\``, path in small ? `\`${JSON.stringify(small[path])}\`` : '', description]),
    );
  if (rows.length === 0) return '';
  return `${row(['option', 'default', '`small`', 'meaning'])}\n${row(['---', '---', '---', '---'])}\n${rows.join('\n')}\n`;
}

/** Heading, words, an example, and the options that are not those of the whole part. */
function sectionOf(name: string, level: string, shared: readonly string[]): string {
  const { title, words, drawn } = SECTIONS[name]!;
  const task = drawn === null ? null : createTask(name, drawn);
  const example = task === null ? '' : `\`\`\`text\n${task.draw(task.train(randomKey(2)).example(3))}\n\`\`\`\n`;
  return `${level} ${title}: \`${name}\`\n\n${words}\n\n${example}\n${optionTable(name, shared)}\n`;
}

/** The document as it should be. @throws Error when a task has no words, or words have no task. */
export async function tasksDocument(): Promise<string> {
  const listed = PARTS.flatMap(([, names]) => names);
  const missing = [...TASKS.keys()].filter((name) => !listed.includes(name));
  if (missing.length > 0) throw new Error(`docs/generate-tasks.ts: say what ${missing.join(', ')} is`);
  const sharedOf = (heading: string): string[] =>
    heading === FORMAL ? configFields(TASKS.get('parity')!.options).map(({ path }) => path) : [];
  const parts = PARTS.map(([heading, names]) => {
    const shared = sharedOf(heading);
    const options = heading === FORMAL ? optionTable('parity') : '';
    const level = heading === '' ? '##' : '###';
    return `${heading}\n${options}\n${names.map((name) => sectionOf(name, level, shared)).join('\n')}`;
  });
  const options = await resolveConfig(file);
  return format(`${OPENING}\n${parts.join('\n')}\n${ELSEWHERE}`, { ...options, filepath: file });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const text = await tasksDocument();
  if (text === readFileSync(file, { encoding: 'utf8', flag: 'a+' })) console.log('docs/tasks.md is up to date');
  else {
    writeFileSync(file, text);
    console.log('wrote docs/tasks.md');
  }
}

/** @file The documents of the project: their fenced blocks of code, and the commands in them. It runs nothing. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the project. */
export const root = fileURLToPath(new URL('../../', import.meta.url));

export const readDocument = (name: string): string => readFileSync(path.join(root, name), 'utf8');

/** Names of README.md, CONTRIBUTING.md and docs/*.md from the root. */
export const documentNames = (): string[] => [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(path.join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => `docs/${name}`),
];

export interface CodeBlock {
  /** The word behind the opening fence: "sh", "ts". */
  readonly language: string;
  readonly code: string;
  /** Line of the first line of code, from 1. */
  readonly line: number;
  /** What a comment `<!-- not run: reason -->` right before the block says; null without one. */
  readonly notRun: string | null;
}

/** The fenced blocks of a Markdown text, in order. */
export function codeBlocks(markdown: string): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  const lines = markdown.split('\n');
  let comment: string | null = null;
  for (let at = 0; at < lines.length; at++) {
    const fence = /^ {0,3}(`{3,})(\w*)/.exec(lines[at]!);
    if (fence === null) {
      if (lines[at]!.trim() !== '') comment = /^<!-- not run: (.+?) -->$/.exec(lines[at]!.trim())?.[1] ?? null;
      continue;
    }
    const start = at + 1;
    while (++at < lines.length && lines[at]!.trim() !== fence[1]);
    const code = lines.slice(start, at).map((line) => `${line}\n`);
    blocks.push({ language: fence[2]!, code: code.join(''), line: start + 1, notRun: comment });
    comment = null;
  }
  return blocks;
}

/** What a reader can run: a command of an `sh` block, or a `ts` block as a program. */
export interface Runnable {
  readonly kind: 'command' | 'program';
  /** A command as the reader sees it, continued lines joined; the code of a program. */
  readonly text: string;
  readonly line: number;
  readonly notRun: string | null;
}

/** The lines of `sh` blocks that begin with `npx xlstm`, `npx tsx` or `node`, and the `ts` blocks, in order. */
export function runnables(markdown: string): Runnable[] {
  return codeBlocks(markdown).flatMap((block): Runnable[] => {
    if (block.language === 'sh') return commandsIn(block);
    return block.language === 'ts' ? [{ ...block, kind: 'program', text: block.code }] : [];
  });
}

function commandsIn({ code, line, notRun }: CodeBlock): Runnable[] {
  const commands: Runnable[] = [];
  const lines = code.split('\n');
  for (let at = 0; at < lines.length; at++) {
    const first = at;
    let text = lines[at]!.trim();
    while (text.endsWith('\\')) text = `${text.slice(0, -1).trimEnd()} ${lines[++at]?.trim() ?? ''}`;
    if (/^(npx (xlstm|tsx)|node)\b/.test(text)) commands.push({ kind: 'command', text, line: line + first, notRun });
  }
  return commands;
}

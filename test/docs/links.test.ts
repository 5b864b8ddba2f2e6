/** @file Links in the documents lead somewhere: files of the project that exist, and headings in them. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { documentNames, readDocument, root } from '../support/documents.js';

/** Targets of Markdown links that are not of the web, code left out. */
function links(markdown: string): string[] {
  const prose = markdown.replace(/^( {0,3})(`{3,})[\s\S]*?^\1\2$/gm, '').replace(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target!).filter((target) => !/^\w+:/.test(target));
}

/** The anchors of a document's headings, as GitHub makes them. */
const anchors = (markdown: string): string[] =>
  [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

it('reads links and headings', () => {
  const markdown = '# Random numbers, `x`\n\n[a](b.md#c) `[no](d.md)` [web](https://e.org)\n\n```md\n[no](f.md)\n```\n';
  expect(links(markdown)).toEqual(['b.md#c']);
  expect(anchors(markdown)).toEqual(['random-numbers-x']);
});

it.each(documentNames())('%s', (name) => {
  const broken = links(readDocument(name)).filter((link) => {
    const [target, anchor] = link.split('#') as [string, string | undefined];
    const file = target === '' ? name : path.posix.join(path.posix.dirname(name), target);
    if (!existsSync(path.join(root, file))) return true;
    return anchor !== undefined && !anchors(readDocument(file)).includes(anchor);
  });
  expect(broken, 'links that lead nowhere').toEqual([]);
});

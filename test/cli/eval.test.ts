/** @file `xlstm eval`: what it prints and writes; mistakes are one sentence. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Evaluation } from '../../src/evaluate/report.js';
import { commandIsBuilt, xlstm } from '../support/cli.js';
import { fastestDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';
import { smallModelFolder } from '../support/small-model.js';

const device = ['--device', fastestDevice()];

async function output(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await xlstm(['eval', ...args, ...device]);
  expect(code, stderr).toBe(0);
  return stdout;
}

describe.skipIf(!commandIsBuilt)('the command (needs npm run build)', () => {
  it('prints and writes what it found', async () => {
    const [model, folder] = [await smallModelFolder(), temporaryFolder()];
    const [book, domains, out] = ['book.md', 'domains', 'out'].map((name) => path.join(folder, name));
    const text = 'All happy families are alike; each unhappy family is unhappy in its own way. '.repeat(30);
    fs.writeFileSync(book!, text);
    fs.mkdirSync(path.join(domains!, 'news'), { recursive: true });
    fs.writeFileSync(path.join(domains!, 'news', 'a.txt'), `${text}\n<|endoftext|>\n${text}`);
    fs.writeFileSync(
      path.join(domains!, 'mail.jsonl'),
      `{"text": "Dear all"}\n{"text": "Best wishes <|endoftext|>"}\n`,
    );

    const args = ['--by-domain', domains!, '--lengths', '16,64,256', '--out', out!];
    const printed = await output(model, '--text', book!, ...args);
    expect(printed).toMatch(/perplexity \d+\.\d+ {2}bits\/byte \d/);
    expect(printed).toContain(`2,310 of 2,310 tokens predicted, 2.3 kB, one document`);
    expect(printed).toMatch(/macro .*\n.*micro .*/);
    expect(printed).toContain('over the same 2,304 tokens');
    expect(printed).toContain('results.json, report.html, lengths.svg, positions.svg in');

    const results = JSON.parse(fs.readFileSync(path.join(out!, 'results.json'), 'utf8')) as Evaluation;
    expect(results.text).toMatchObject({ tokens: 2310, bytes: 2310, predicted: 2310, documents: 1 });
    expect(results.domains!.domains.map(({ name, documents }) => [name, documents])).toEqual([
      ['mail.jsonl', 2],
      ['news', 2],
    ]);
    // The same text once, and twice as documents of a domain. In the mail the name of the special token is text.
    expect(results.domains!.domains[1]!.loss).toBe(results.text!.loss);
    expect(results.domains!.domains[0]!.tokens).toBe(8 + 25);
    expect(results.lengths!.lengths.map(({ length }) => length)).toEqual([16, 64, 256]);
    for (const name of ['lengths.svg', 'positions.svg']) {
      const svg = fs.readFileSync(path.join(out!, name), 'utf8');
      expect(svg).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"[^]*<path [^]*<\/svg>\n$/);
      expect(svg).not.toContain('var(');
      expect(svg).toContain('>256<');
    }
    const page = fs.readFileSync(path.join(out!, 'report.html'), 'utf8');
    expect(page.match(/<svg /g)!.length).toBe(2);
    expect(page).not.toMatch(/<script|href=|src=/);

    const window = JSON.parse(await output(model, '--text', book!, '--window', '64', '--json')) as Evaluation;
    expect(window.method).toBe('windows of 64 tokens, each from nothing, of which the last 32 are scored');
    expect(window.text!.predicted).toBe(2310);
    expect(window.text!.loss).not.toBe(results.text!.loss);
  });

  it('answers zero-shot tasks', async () => {
    const [model, folder] = [await smallModelFolder(), temporaryFolder()];
    const [words, endings, out] = ['words.jsonl', 'endings.jsonl', 'out'].map((name) => path.join(folder, name));
    fs.writeFileSync(words!, '{"text": "the end of the story"}\n{"text": "another last word"}\n');
    const item = { ctx: 'A man sits.', activity_label: 'Roof', endings: ['He sings.', 'No', 'A bird flies by.'] };
    fs.writeFileSync(endings!, [0, 1, 2].map((label) => JSON.stringify({ ...item, label })).join('\n'));
    const printed = await output(model, '--lambada', words!, '--hellaswag', endings!, '--out', out!);
    expect(printed).toMatch(/words.jsonl, the last word of 2 texts\n {2}accuracy \d.* %.* perplexity of the word \d/);
    // One of the three labels is what it answers.
    expect(printed).toMatch(/endings.jsonl, the ending of 3 texts\n {2}accuracy 33.33 % \+- 33.33 {2}by .* 33.33 %/);
    const results = JSON.parse(fs.readFileSync(path.join(out!, 'results.json'), 'utf8')) as Evaluation;
    expect(results.lambada).toMatchObject({ name: words, items: 2 });
    expect(results.lambada!.perplexity).toBeCloseTo(Math.exp(results.lambada!.loss), 6);
    const page = fs.readFileSync(path.join(out!, 'report.html'), 'utf8');
    expect(page).toContain('ending, log p per byte');
    const first = JSON.parse(await output(model, '--hellaswag', endings!, '--limit', '1', '--json')) as Evaluation;
    expect(first.hellaswag!.items).toBe(1);
  });

  it('refuses in one sentence', async () => {
    const [model, folder] = [await smallModelFolder(), temporaryFolder()];
    const short = path.join(folder, 'short.txt');
    fs.writeFileSync(short, 'short');
    const cases: [args: string[], message: string][] = [
      [[], 'give texts with --text or --by-domain'],
      [['--text', path.join(folder, 'none')], 'there is no file or folder'],
      [['--by-domain', path.join(folder, 'none')], 'there is no folder'],
      [['--text', short, '--stride', '3'], '--stride needs --window'],
      [
        ['--text', short, '--window', '4', '--stride', '5'],
        'the stride must be a whole number from 1 to the window of 4',
      ],
      [['--text', short, '--lengths', '64'], 'the longest document has 5 tokens, too few for the length of 64'],
      [['--by-domain', folder, '--lengths', '64'], '--lengths needs a text'],
      [['--lambada', path.join(folder, 'none')], 'lambada: there is no file'],
      [['--hellaswag', short], 'short.txt:1 is not JSON'],
    ];
    const results = await Promise.all(cases.map(([args]) => xlstm(['eval', model, ...args, ...device])));
    for (const [k, { code, stderr }] of results.entries()) {
      expect(code).toBe(1);
      expect(stderr.trim().split('\n').length).toBe(1);
      expect(stderr).toContain(cases[k]![1]);
    }
  });
});

/** @file `xlstm compare` as its users run it: small models that are really trained, stopped, broken and gone on with. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { parseResults } from '../../src/experiments/results-csv.js';
import { commandIsBuilt, xlstm } from '../support/cli.js';
import { fastestDevice } from '../support/devices.js';
import { root } from '../support/documents.js';
import { temporaryFolder } from '../support/folders.js';

const example = path.join(root, 'examples/my-mixer.ts');

/** Two tasks, two models; some steps each. */
const BASE = {
  tasks: [
    { name: 'parity', preset: 'small', training: { batchSize: 4 } },
    { name: 'text', options: { files: ['book.txt'], contextLength: 16, lengths: [8, 16], evaluationTokens: 64 } },
  ],
  models: ['xlstm[1:1]', { mixer: 'lstm' }],
  sizes: [{ dim: 16, heads: 2 }],
  learningRates: [1e-2],
  training: { steps: 3, batchSize: 2 },
  device: { name: fastestDevice(), threads: 1 },
};

function prepare(changes: object = {}): { folder: string; file: string; out: string } {
  const folder = temporaryFolder();
  const file = path.join(folder, 'compare.yaml');
  fs.writeFileSync(path.join(folder, 'book.txt'), 'It was the best of times, it was the worst of times. '.repeat(40));
  const tasks = BASE.tasks.map((task) =>
    task.name === 'text' ? { ...task, options: { ...task.options, files: [path.join(folder, 'book.txt')] } } : task,
  );
  fs.writeFileSync(file, stringify({ ...BASE, tasks, ...changes }));
  return { folder, file, out: path.join(folder, 'out') };
}

const rowsOf = (out: string) => parseResults(fs.readFileSync(path.join(out, 'results.csv'), 'utf8'));

describe.skipIf(!commandIsBuilt)('xlstm compare', () => {
  it('trains every model on every task, and leaves a table, figures, a report and the configurations', async () => {
    const { file, out } = prepare();
    const listed = await xlstm(['compare', file, '--out', out, '--list']);
    expect(listed.stdout).toContain('4 runs, 4 to do');
    expect(fs.existsSync(out)).toBe(false);

    const { code, stdout, stderr } = await xlstm(['compare', file, '--out', out, '--jobs', '2']);
    expect([stderr, code]).toEqual(['', 0]);
    expect(stdout).toMatch(/\[4\/4\] /);
    const rows = rowsOf(out);
    expect(new Set(rows.map(({ run }) => run)).size).toBe(4);
    expect(rows.filter(({ status }) => status !== 'done')).toEqual([]);
    const sets = new Set(rows.map(({ task, set, measure }) => `${task} ${set}/${measure}`));
    expect([...sets]).toEqual(expect.arrayContaining(['parity validation/accuracy', 'text length 8/perplexity']));
    expect(fs.readdirSync(out).toSorted()).toEqual(['compare.yaml', 'figures', 'report.html', 'results.csv', 'runs']);
    for (const name of fs.readdirSync(path.join(out, 'runs'))) {
      expect(fs.readdirSync(path.join(out, 'runs', name)).toSorted()).toEqual(['config.yaml', 'result.json']);
    }

    // Done once: the same again, by its file or by its folder, does nothing.
    const times = () =>
      fs
        .readdirSync(path.join(out, 'runs'))
        .map((name) => fs.statSync(path.join(out, 'runs', name, 'result.json')).mtimeMs);
    const before = times();
    const again = await xlstm(['compare', out, '--resume']);
    expect(again.stdout).toContain('4 runs into');
    expect(again.stdout).toContain('4 of them done before');
    expect(times()).toEqual(before);
    // More seeds are more runs; the others stand.
    const more = await xlstm(['compare', file, '--out', out, '--set', 'seeds=[0,1]', '--list']);
    expect(more.stdout).toContain('8 runs, 4 to do');
  });

  it('gives the same numbers however many jobs there are', async () => {
    const { file, folder } = prepare({ tasks: [{ name: 'parity', preset: 'small' }] });
    const results: unknown[] = [];
    for (const jobs of ['1', '3']) {
      const out = path.join(folder, jobs);
      expect((await xlstm(['compare', file, '--out', out, '--jobs', jobs])).code).toBe(0);
      results.push(rowsOf(out).map((row) => ({ ...row, seconds: 0, tokensPerSecond: 0 })));
    }
    expect(results[0]).toEqual(results[1]);
  });

  it('goes on after a signal, in a sentence, and a finished run is not done again', async () => {
    const { file, out } = prepare({ training: { steps: 100, batchSize: 2 } });
    const runs = path.join(out, 'runs');
    const finished = () =>
      fs.existsSync(runs)
        ? fs.readdirSync(runs).filter((name) => fs.existsSync(path.join(runs, name, 'result.json')))
        : [];
    const stopped = await xlstm(['compare', file, '--out', out], (child) => {
      const watch = setInterval(() => {
        if (finished().length === 0) return;
        clearInterval(watch);
        child.kill('SIGTERM');
      }, 20);
    });
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toContain('stopping: runs in progress are given up');
    const before = finished();
    expect(before.length).toBeLessThan(4);
    expect(stopped.stdout).toContain(`stopped with ${4 - before.length} runs to do; go on with: xlstm compare ${file}`);
    expect(rowsOf(out).length).toBeGreaterThan(0);

    const { code, stdout } = await xlstm(['compare', file, '--out', out, '--set', 'training.steps=100']);
    expect(code).toBe(0);
    expect(stdout).toContain(`${before.length} of them done before`);
    expect(finished()).toHaveLength(4);
  });

  it('a model that diverges, and a mixer that returns NaN, are rows of the table; the others go on', async () => {
    const { folder, file, out } = prepare({
      tasks: [{ name: 'parity', preset: 'small' }],
      models: [{ mixerFile: './nan.ts', label: 'broken' }, { mixerFile: './mine.ts' }],
    });
    const text = fs.readFileSync(example, 'utf8');
    fs.writeFileSync(path.join(folder, 'mine.ts'), text);
    const nan = text.replaceAll('leakyAverage', 'broken').replace('[D, 1], -1)', '[D, 1], NaN)');
    fs.writeFileSync(path.join(folder, 'nan.ts'), nan);
    const { code, stdout } = await xlstm(['compare', file, '--out', out]);
    expect(code).toBe(0);
    expect(stdout).toContain('1 of 2 runs failed:');
    const rows = rowsOf(out);
    expect(rows.find(({ model }) => model === 'broken')).toMatchObject({ status: 'failed', mixers: ['broken'] });
    expect(rows.find(({ model }) => model === 'broken')!.reason).toMatch(/^the loss or its gradient was not finite/);
    expect(rows.filter(({ status }) => status === 'done').map(({ model }) => model)).toContain('leakyAverage');

    // The file of a mixer that has changed is another run.
    fs.writeFileSync(path.join(folder, 'mine.ts'), `${text}\n// changed\n`);
    const listed = await xlstm(['compare', file, '--out', out, '--list', '--only', 'leakyAverage']);
    expect(listed.stdout).toContain('1 runs, 1 to do');
  });

  it('what is wrong with a comparison, in a sentence', async () => {
    const { file, out, folder } = prepare();
    const says = async (...args: string[]) => {
      const { code, stderr } = await xlstm(['compare', ...args]);
      expect(code).toBe(1);
      expect(stderr.trim().split('\n')).toHaveLength(1);
      return stderr;
    };
    expect(await says()).toContain('give a compare.yaml');
    expect(await says(path.join(folder, 'absent.yaml'))).toContain('absent.yaml: cannot be read');
    expect(await says(file, '--set', 'sedes=[1]')).toContain('unknown field "sedes"');
    expect(await says(file, '--set', 'tasks=[pairity]')).toContain(
      'task "pairity": task: there is no "pairity"; did you mean "parity"?',
    );
    expect(await says(file, '--set', 'models=[lama]')).toContain('did you mean "llama"?');
    expect(await says(file, '--set', 'models=[{mixerFile: ./absent.ts}]')).toContain(
      'absent.ts: cannot be read (ENOENT)',
    );
    expect(await says(file, '--out', out, '--only', 'lstn')).toContain(
      'the mixer or the label "lstn"; did you mean "lstm"?',
    );
    expect(await says(file, '--out', out, '--resume')).toContain(
      'nothing of this comparison is done; start it without --resume',
    );
    expect(await says(file, '--out', '/proc/absent')).toContain('cannot write');
  });

  it('shows its fields, tasks and architectures', async () => {
    const fields = (await xlstm(['compare', '--help-config'])).stdout;
    expect(fields).toContain('tasks[].preset');
    expect(fields).toContain('matchParameters.tolerance = 0.05');
    expect((await xlstm(['compare', '--tasks'])).stdout).toMatch(/^ +parity +/m);
    expect((await xlstm(['compare', '--architectures'])).stdout).toMatch(/^ +llama +Llama: attention/m);
    const { file } = prepare();
    expect((await xlstm(['compare', file, '--print-config'])).stdout).toContain('learningRates:');
  });
});

describe.skipIf(!commandIsBuilt)('xlstm reproduce', () => {
  it('lists what comes with the package, and carries it out with published numbers beside', async () => {
    expect((await xlstm(['reproduce'])).stdout).toMatch(/^ +formal-languages +.* +small, paper$/m);
    const out = path.join(temporaryFolder(), 'out');
    const settings = [
      'training.steps=2',
      'training.batchSize=2',
      'seeds=[0]',
      'models=[{architecture: llama}, "xlstm[0:1]"]',
    ];
    const { code, stdout } = await xlstm(['reproduce', 'formal-languages', '--out', out, '--set', ...settings]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/Formal languages \(arXiv 2405\.04517, figure 4\)/);
    expect(stdout).toMatch(/Llama +0\.03 \[M\] +-?0\.\d+ \(1\)/);
    const { stderr } = await xlstm(['reproduce', 'formal-langages']);
    expect(stderr).toContain('did you mean "formal-languages"?');
  });
});

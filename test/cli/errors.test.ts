/** @file Bad input gets one clear sentence and loses nothing; help is there. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandIsBuilt, xlstm } from '../support/cli.js';
import { fastestDevice } from '../support/devices.js';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'xlstm-errors-'));
const at = (name: string) => path.join(folder, name);
const tiny = [
  ...['--device', fastestDevice(), '--out', folder, '--steps', '4'],
  ...['--set', 'model.dim=16', 'model.blocks=[mlstm]', 'training.batchSize=2', 'training.contextLength=16'],
  ...['samples.everySteps=0', 'evaluation.batches=1', 'checkpoint.everySteps=2'],
];
const train = (...args: string[]) => xlstm(['train', ...args, ...tiny]);
/** The one line of an error, without the stack. */
const sentence = async (result: ReturnType<typeof xlstm>) => {
  const { code, stderr } = await result;
  expect(code).toBe(1);
  const lines = stderr
    .trim()
    .split('\n')
    .filter((line) => !line.startsWith('preparing'));
  expect(lines.length).toBe(1);
  expect(stderr).not.toMatch(/^\s+at /m);
  return lines[0]!;
};

describe.skipIf(!commandIsBuilt)('the command (needs npm run build)', () => {
  beforeAll(async () => {
    fs.writeFileSync(at('good.txt'), 'All work and no play makes Jack a dull boy.\n'.repeat(60));
    fs.writeFileSync(at('empty.txt'), '');
    fs.writeFileSync(at('latin1.txt'), Buffer.from([0x66, 0x6f, 0xe9, 0x20, 0x62]));
    fs.writeFileSync(at('short.txt'), 'too short');
    fs.writeFileSync(at('bad.jsonl'), '{"text": "fine"}\n{"text": 3}\n');
    const { stderr } = await train(at('good.txt'), '--name', 'good');
    expect(stderr).not.toContain('xlstm:');
  });
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

  describe('text', () => {
    it.each([
      ['empty.txt', /empty\.txt/],
      ['latin1.txt', /latin1\.txt.*UTF-8.*byte 2|latin1\.txt.*UTF-8/],
      ['missing.txt', /missing\.txt/],
      ['bad.jsonl', /bad\.jsonl.*2/],
      ['short.txt', /short|context/],
    ])('%s', async (file, wanted) => expect(await sentence(train(at(file)))).toMatch(wanted));

    it('none at all', async () => expect(await sentence(train())).toContain('data.files: no text to train on'));
  });

  describe('configuration', () => {
    const set = (setting: string) => sentence(xlstm(['train', at('good.txt'), '--set', setting]));

    it('a wrong field names the nearest', async () =>
      expect(await set('model.dimm=3')).toContain('unknown field "model.dimm"; did you mean "dim"?'));
    it('a wrong group too', async () => expect(await set('trainin.steps=3')).toContain('did you mean "training"?'));
    it('a wrong value says what is right', async () =>
      expect(await set('optimizer.decay=matrix')).toContain(
        '"matrix" is not one of matrices, all; did you mean "matrices"?',
      ));
    it('a wrong number says its range', async () =>
      expect(await set('model.dropout=1.5')).toMatch(/model\.dropout: .*0\.99.*got 1\.5/));
    it('a mixer that does not exist', async () =>
      expect(await set('model.blocks=[mlstn]')).toContain('did you mean "mlstm"?'));
    it('heads that do not divide', async () =>
      expect(await set('model.slstm.heads=7')).toContain('heads must divide the width, got 7 heads of 256'));
    it('a preset that does not exist', async () =>
      expect(await sentence(xlstm(['train', at('good.txt'), '--preset', 'xlstm[1:1]-smal']))).toContain(
        'did you mean "xlstm[1:1]-small"?',
      ));
    it('a configuration file with wrong YAML', async () => {
      fs.writeFileSync(at('wrong.yaml'), 'model:\n  dim: [3\n');
      expect(await sentence(xlstm(['train', '--config', at('wrong.yaml')]))).toContain('wrong.yaml');
    });
    it('stateful training without a stream', async () =>
      expect(await set('training.stateful=true')).toContain('needs data.order=stream'));
    it('a run that exists', async () =>
      expect(await sentence(train(at('good.txt'), '--name', 'good'))).toContain(
        'this run exists; go on with --resume',
      ));
  });

  describe('models', () => {
    const copy = (name: string, change: (checkpoint: string) => void) => {
      fs.cpSync(at('good/checkpoints/4'), at(name), { recursive: true });
      change(at(name));
      return sentence(xlstm(['generate', at(name), 'x', '--device', fastestDevice()]));
    };

    it('a truncated model file', async () =>
      expect(await copy('truncated', (dir) => fs.truncateSync(path.join(dir, 'model.safetensors'), 1000))).toContain(
        'model.safetensors',
      ));
    it('a file that is no safetensors', async () =>
      expect(
        await copy('foreign', (dir) =>
          fs.writeFileSync(path.join(dir, 'model.safetensors'), 'PK\u0003\u0004 a zip file, perhaps'),
        ),
      ).toContain('model.safetensors'));
    it('tensors of another model', async () =>
      expect(
        await copy('other', (dir) => {
          const config = JSON.parse(fs.readFileSync(path.join(dir, 'config.json'), 'utf8'));
          config.model.dim = 32;
          fs.writeFileSync(path.join(dir, 'config.json'), JSON.stringify(config));
        }),
      ).toMatch(/must be \[.*\], got \[/));
    it('a tokenizer that does not match', async () =>
      expect(
        await copy('tokens', (dir) => {
          const file = path.join(dir, 'tokenizer.json');
          const json = JSON.parse(fs.readFileSync(file, 'utf8'));
          json.model.vocab['!!'] = json.model.vocab['!'];
          delete json.model.vocab['!'];
          fs.writeFileSync(file, JSON.stringify(json));
        }),
      ).toMatch(/tokenizer/));
    it('no model at all', async () => {
      expect(await sentence(xlstm(['generate', at('nowhere'), 'x']))).toContain('nowhere: does not exist');
      expect(await sentence(xlstm(['inspect', folder]))).toContain('holds neither a model nor checkpoints');
      expect(await sentence(xlstm(['train', '--resume', at('nowhere')]))).toContain('is no run');
    });
  });

  it('a folder that cannot be written', async () => {
    fs.writeFileSync(at('file'), 'not a folder');
    expect(await sentence(xlstm(['train', at('good.txt'), '--out', at('file')]))).toMatch(
      /cannot write the run .*a file, not a folder/,
    );
  });

  it.skipIf(process.platform !== 'linux')('a folder that cannot even be made', async () => {
    const stuck = xlstm(['train', at('good.txt'), '--out', '/proc/xlstm']);
    expect(await sentence(stuck)).toMatch(/cannot write the run \/proc\/xlstm/);
  });

  describe('help', () => {
    it.each([[], ['train'], ['generate'], ['inspect'], ['doctor']])('%s', async (...command) => {
      const { code, stdout } = await xlstm([...command, '--help']);
      expect(code).toBe(0);
      expect(stdout).toContain('Usage: xlstm');
      expect(stdout.split('\n').every((line) => line.length <= 130)).toBe(true);
    });
    it('a wrong command suggests the right one', async () =>
      expect((await xlstm(['trian'])).stderr).toContain('Did you mean train?'));
    it('every field of the configuration', async () => {
      const { stdout } = await xlstm(['train', '--help-config']);
      for (const field of ['model.mlstm.inputGate = "exponential"', 'training.steps = 1000', 'optimizer.learningRate'])
        expect(stdout).toContain(field);
    });
    it('the resolved configuration', async () => {
      const { stdout } = await xlstm([
        'train',
        'a.txt',
        '--preset',
        'xlstm[7:1]-base',
        '--set',
        'model.dim=64',
        '--print-config',
      ]);
      expect(stdout).toMatch(/^ {2}dim: 64$/m);
      expect(stdout.match(/ - mlstm$/gm)).toHaveLength(7);
    });
  });

  it('generate streams text, the same for the same seed; inspect and doctor answer', async () => {
    const generate = (...args: string[]) =>
      xlstm(['generate', at('good'), 'All work', '--max-tokens', '20', '--device', fastestDevice(), ...args]);
    const [one, same, other] = [
      await generate('--seed', '1'),
      await generate('--seed', '1'),
      await generate('--seed', '2'),
    ];
    expect(one.stdout.startsWith('All work')).toBe(true);
    expect(one.stdout).toBe(same.stdout);
    expect(one.stdout).not.toBe(other.stdout);
    expect((await xlstm(['inspect', at('good'), '--parameters'])).stdout).toContain('blocks.0.mixer.q.weight');
    expect((await xlstm(['doctor', '--quick'])).stdout).toContain('reference');
  });

  it('a run folder has all its parts', () => {
    const parts = fs.readdirSync(at('good')).map((name) => name.replace(/^events\.out\.tfevents\..*/, 'events'));
    expect(parts.toSorted()).toEqual([
      'checkpoints',
      'config.yaml',
      'data',
      'events',
      'metrics.jsonl',
      'report.html',
      'samples.jsonl',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
  });
});

/**
 * @file The progress of a comparison: on a terminal a line per run in progress below the finished ones, elsewhere a line
 * when a run ends and one now and then. It measures nothing but time.
 */
import type { RunEvent } from '../experiments/runner.js';
import type { RunResult, RunSpec, TaskProgress } from '../experiments/run-spec.js';
import { formatCount, formatDuration, formatNumber, printable } from '../format.js';
import type { ProgressStream } from './progress.js';

const REPAINT_MILLISECONDS = 200;
const LINE_MILLISECONDS = 60_000;
const CLEAR_BELOW = '\x1b[J';

interface Going {
  readonly spec: RunSpec;
  readonly since: number;
  progress: TaskProgress | null;
  /** When its last plain line went out. */
  lined: number;
}

export interface CompareProgressOptions {
  /** Runs to carry out. */
  readonly total: number;
  readonly stream?: ProgressStream;
  /** Milliseconds. */
  readonly now?: () => number;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

export class CompareProgress {
  readonly #total: number;
  readonly #stream: ProgressStream;
  readonly #live: boolean;
  readonly #now: () => number;
  readonly #started: number;
  readonly #going = new Map<string, Going>();
  #done = 0;
  #failed = 0;
  #painted = 0;
  #paintedAt = -Infinity;

  constructor({
    total,
    stream = process.stdout,
    now = () => performance.now(),
    env = process.env,
  }: CompareProgressOptions) {
    this.#total = total;
    this.#stream = stream;
    this.#live = stream.isTTY === true && env['TERM'] !== 'dumb';
    this.#now = now;
    this.#started = now();
  }

  update(event: RunEvent): void {
    const { name } = event.spec;
    const now = this.#now();
    switch (event.kind) {
      case 'start':
        this.#going.set(name, { spec: event.spec, since: now, progress: null, lined: now });
        break;
      case 'progress':
        this.#follow(this.#going.get(name), event.progress, now);
        break;
      case 'end':
        this.#going.delete(name);
        this.#done += 1;
        if (event.result.status === 'failed') this.#failed += 1;
        this.#write(`${this.#counter()} ${describeRun(event.spec)}: ${describeResult(event.result)}${this.#left()}`);
    }
    if (this.#live && (event.kind === 'end' || now - this.#paintedAt >= REPAINT_MILLISECONDS)) this.#repaint(now);
  }

  #follow(going: Going | undefined, progress: TaskProgress, now: number): void {
    if (going === undefined) return;
    going.progress = progress;
    if (this.#live || now - going.lined < LINE_MILLISECONDS) return;
    going.lined = now;
    this.#write(`      ${describeRun(going.spec)}: ${describeProgress(going, now)}`);
  }

  /** "[ 3/12]": what is done of what was to be done. */
  #counter(): string {
    const total = String(this.#total);
    return `[${String(this.#done).padStart(total.length)}/${total}]`;
  }

  /** An estimate from the mean time of the runs so far. */
  #left(): string {
    const rest = this.#total - this.#done;
    if (rest <= 0) return '';
    return `, ${formatDuration((((this.#now() - this.#started) / 1000) * rest) / this.#done)} left`;
  }

  /** A line that stays. */
  #write(line: string): void {
    this.#stream.write(`${this.#eraser()}${printable(line)}\n`);
    this.#painted = 0;
  }

  #repaint(now: number): void {
    const width = Math.max(1, (this.#stream.columns || 80) - 1);
    const failed = this.#failed === 0 ? '' : `, ${this.#failed} failed`;
    const summary = `${this.#counter()} runs${failed}, ${formatDuration((now - this.#started) / 1000)}`;
    const lines = [
      ...[...this.#going.values()].map((going) => `  ${describeRun(going.spec)}: ${describeProgress(going, now)}`),
      summary,
    ].map((line) => printable(line).slice(0, width));
    this.#stream.write(this.#eraser() + lines.join('\n'));
    this.#painted = lines.length;
    this.#paintedAt = now;
  }

  #eraser(): string {
    if (this.#painted === 0) return '';
    return `\r${this.#painted > 1 ? `\x1b[${this.#painted - 1}A` : ''}${CLEAR_BELOW}`;
  }

  /** Takes the lines of runs in progress off the terminal. */
  [Symbol.dispose](): void {
    if (this.#painted > 0) this.#stream.write(this.#eraser());
    this.#painted = 0;
  }
}

export const describeRun = ({ task, label, size, training, seed }: RunSpec): string =>
  `${task.label}, ${label} ${size}, learning rate ${training.learningRate}, seed ${seed}`;

function describeProgress({ progress, since }: Going, now: number): string {
  if (progress === null) return `starting, ${formatDuration((now - since) / 1000)}`;
  const { step, steps, loss, tokensPerSecond } = progress;
  const seconds = (now - since) / 1000;
  return (
    `step ${step}/${steps}, loss ${formatNumber(loss)}, ${formatCount(tokensPerSecond)} tok/s, ` +
    `${formatDuration((seconds / step) * (steps - step))} left`
  );
}

/** Measures in the order in which they tell most. */
const TELLING = ['scaledAccuracy', 'accuracy', 'perplexity', 'loss'];

function describeResult({ status, reason, metrics, seconds }: RunResult): string {
  if (status === 'failed') return `failed: ${reason}`;
  const names = Object.keys(metrics);
  const told = ['test', 'validation'].flatMap((kind) => {
    const name = TELLING.map((measure) => names.find((one) => one.startsWith(kind) && one.endsWith(`/${measure}`)));
    const found = name.find((one) => one !== undefined);
    return found === undefined ? [] : [`${found.replace('/', ' ')} ${formatNumber(metrics[found]!)}`];
  });
  return [...told, formatDuration(seconds)].join(', ');
}

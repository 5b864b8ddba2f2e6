/**
 * @file One line of progress for long work that is not training: reading a text, evaluating a model. On standard error,
 * repainted on a terminal, now and then a line elsewhere. It does not measure anything but time.
 */
import { formatCount, formatDuration } from '../format.js';
import type { ProgressStream } from './progress.js';

const REPAINT_MILLISECONDS = 100;
/** Work that is done sooner needs no line in a log. */
const LINE_MILLISECONDS = 10_000;
const CLEAR_TO_END = '\x1b[K';

export class WorkProgress {
  readonly #what: string;
  readonly #stream: ProgressStream;
  readonly #live: boolean;
  readonly #now: () => number;
  readonly #started: number;
  #shownAt: number;
  #painted = false;

  /** @param what  what is done, in the form "reading book.txt" */
  constructor(what: string, stream: ProgressStream = process.stderr, now = () => performance.now()) {
    this.#what = what;
    this.#stream = stream;
    this.#live = stream.isTTY === true && process.env['TERM'] !== 'dumb';
    this.#now = now;
    this.#started = now();
    this.#shownAt = this.#live ? -Infinity : this.#started;
  }

  /** @param share  the part that is done, 0 to 1  @param tokens  tokens read so far, for the rate, where they are counted */
  update(share: number, tokens?: number): void {
    const now = this.#now();
    if (now - this.#shownAt < (this.#live ? REPAINT_MILLISECONDS : LINE_MILLISECONDS)) return;
    this.#shownAt = now;
    const seconds = (now - this.#started) / 1000;
    const part = Math.min(1, Math.max(0, share));
    const left = part > 0 ? `, ${formatDuration((seconds * (1 - part)) / part)} left` : '';
    const rate = seconds > 0 && tokens !== undefined ? `, ${formatCount(tokens / seconds)} tokens/s` : '';
    const count = tokens === undefined ? '' : `, ${formatCount(tokens)} tokens`;
    const line = `${this.#what}: ${Math.floor(100 * part)} %${count}${rate}${left}`;
    if (this.#live) {
      const columns = this.#stream.columns || 80;
      this.#stream.write(`\r${line.slice(0, Math.max(1, columns - 1))}${CLEAR_TO_END}`);
      this.#painted = true;
    } else {
      this.#stream.write(`${line}\n`);
    }
  }

  /** Takes the line off the terminal. */
  [Symbol.dispose](): void {
    if (this.#painted) this.#stream.write(`\r${CLEAR_TO_END}`);
    this.#painted = false;
  }
}

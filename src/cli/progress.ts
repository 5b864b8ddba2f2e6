/**
 * @file The progress of a training on a terminal: two repainted lines, or a plain line per N steps where there is no
 * terminal. Pure formatting first, the terminal after it. It does not measure anything.
 */
import type { TrainStep } from '../train/train-step.js';
import { formatCount, formatDuration, formatNumber, printable } from './format.js';

/** Where a training is after a step. Bits per byte and the remaining time may be NaN: not known. */
export type ProgressEvent = Pick<
  TrainStep,
  | 'step'
  | 'totalSteps'
  | 'loss'
  | 'emaLoss'
  | 'bitsPerByte'
  | 'learningRate'
  | 'gradientNorm'
  | 'tokensPerSecond'
  | 'elapsedSeconds'
  | 'remainingSeconds'
>;

export interface ProgressStyle {
  /** Characters in a line of the terminal. */
  readonly columns: number;
  readonly color: boolean;
  /** Whether the terminal shows characters beyond ASCII. */
  readonly unicode: boolean;
}

// ---- formatting ----------------------------------------------------------------------------------------------------

type Field = readonly [label: string, value: string];

/** What is measured, most wanted first: a narrow terminal shows the first ones. */
function fields(event: ProgressEvent): Field[] {
  const rate = event.tokensPerSecond;
  return [
    ['loss', formatNumber(event.loss)],
    ['ema', formatNumber(event.emaLoss)],
    ...(Number.isNaN(event.bitsPerByte) ? [] : [['bits/byte', formatNumber(event.bitsPerByte)] as const]),
    ['tok/s', Number.isFinite(rate) ? formatCount(rate) : '?'],
    ['lr', formatNumber(event.learningRate, 3)],
    ['grad', formatNumber(event.gradientNorm, 3)],
  ];
}

/** The part that is done, from 0 to 1; 0 for a training of no steps. */
function shareDone({ step, totalSteps }: ProgressEvent): number {
  return totalSteps > 0 ? Math.min(1, Math.max(0, step / totalSteps)) : 0;
}

function formatTime({ step, totalSteps, elapsedSeconds, remainingSeconds }: ProgressEvent): string {
  const elapsed = formatDuration(elapsedSeconds);
  return step >= totalSteps ? elapsed : `${elapsed}, ${formatDuration(remainingSeconds)} left`;
}

/** One line for logs: no colours, no repainting, every field. */
export function formatProgressLine(event: ProgressEvent): string {
  const values = fields(event).map(([label, value]) => `${label} ${value}`);
  return `step ${event.step}/${event.totalSteps} (${Math.floor(100 * shareDone(event))}%)  ${values.join('  ')}  ${formatTime(event)}`;
}

const BOLD = '\x1b[1m';
const DIM = '\x1b[2m';
const GREEN = '\x1b[32m';
const RED = '\x1b[31m';
const RESET = '\x1b[0m';

/**
 * The lines for a terminal: a bar with the time, then the measurements. No line is longer than `columns - 1`, so that
 * no terminal wraps it; what does not fit is left out, least wanted first.
 */
export function formatProgressBlock(event: ProgressEvent, style: ProgressStyle): string[] {
  const width = Math.max(1, style.columns - 1);
  return [barLine(event, width, style), fieldLine(event, width, style.color)];
}

function barLine(event: ProgressEvent, width: number, { color, unicode }: ProgressStyle): string {
  const share = shareDone(event);
  const step = `${String(event.step).padStart(String(event.totalSteps).length)}/${event.totalSteps}`;
  const percent = `${String(Math.floor(100 * share)).padStart(3)}%`;
  const time = formatTime(event);
  const candidates = [`${step} ${percent}  ${time}`, `${step}  ${time}`, `${step} ${percent}`, step];
  const right = candidates.find((text) => text.length <= width) ?? step.slice(0, width);
  const room = Math.min(60, width - right.length - 1);
  if (room < 6) return right;
  const done = Math.round(room * share);
  const [full, empty] = unicode ? ['━', '─'] : ['#', '-'];
  return `${paint(full.repeat(done), GREEN, color)}${paint(empty.repeat(room - done), DIM, color)} ${right}`;
}

function fieldLine(event: ProgressEvent, width: number, color: boolean): string {
  let line = '';
  let length = 0;
  for (const [label, value] of fields(event)) {
    const gap = length === 0 ? '' : '  ';
    const size = gap.length + label.length + 1 + value.length;
    if (length + size > width) break;
    const bad = label === 'loss' && !Number.isFinite(event.loss);
    line += `${gap}${paint(label, DIM, color)} ${paint(value, bad ? RED : BOLD, color)}`;
    length += size;
  }
  return line;
}

function paint(text: string, code: string, color: boolean): string {
  return color && text !== '' ? `${code}${text}${RESET}` : text;
}

/** Characters that a line takes on the terminal; the lines of this file hold single-width characters only. */
export function visibleLength(line: string): number {
  // eslint-disable-next-line no-control-regex
  return line.replace(/\x1b\[[0-9;]*m/g, '').length;
}

// ---- the terminal --------------------------------------------------------------------------------------------------

/** What `Progress` needs of process.stdout. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
  on?(event: 'resize', listener: () => void): unknown;
  off?(event: 'resize', listener: () => void): unknown;
}

export interface ProgressOptions {
  readonly stream?: ProgressStream;
  /** Steps between two lines where there is no terminal. */
  readonly linesEvery?: number;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds, for the rate of repainting. */
  readonly now?: () => number;
}

const REPAINT_MILLISECONDS = 100;
const CLEAR_BELOW = '\x1b[J';

/** Shows progress events on a stream. Everything else that goes to this stream meanwhile must go through `print`. */
export class Progress {
  private readonly stream: ProgressStream;
  private readonly live: boolean;
  private readonly color: boolean;
  private readonly unicode: boolean;
  private readonly linesEvery: number;
  private readonly now: () => number;
  private readonly onResize = () => this.repaint();
  private last: ProgressEvent | null = null;
  /** The lines on the terminal now, as they were painted; the cursor stands at the end of the last. */
  private painted: readonly string[] = [];
  private paintedAt = -Infinity;
  /** The last event that went out as a plain line. */
  private lined: ProgressEvent | null = null;
  private finished = false;

  constructor(options: ProgressOptions = {}) {
    const env = options.env ?? process.env;
    this.stream = options.stream ?? process.stdout;
    this.live = this.stream.isTTY === true && env['TERM'] !== 'dumb';
    this.color = this.live && !env['NO_COLOR'];
    this.unicode = /utf-?8/i.test(env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '');
    this.linesEvery = Math.max(1, options.linesEvery ?? 50);
    this.now = options.now ?? (() => performance.now());
    if (this.live) this.stream.on?.('resize', this.onResize);
  }

  /** Shows where the training is; a terminal is repainted at most ten times per second. */
  update(event: ProgressEvent): void {
    this.last = event;
    const isEnd = event.step >= event.totalSteps;
    if (!this.live) {
      if (this.lined === null || isEnd || event.step % this.linesEvery === 0) this.line(event);
    } else if (isEnd || this.now() - this.paintedAt >= REPAINT_MILLISECONDS) {
      this.repaint();
    }
  }

  /** Writes text (a sample, a message) above the progress; control characters in it are made visible. */
  print(text: string): void {
    this.stream.write(`${this.eraser()}${printable(text)}\n`);
    this.painted = [];
    this.repaint();
  }

  /** Leaves the last state on the terminal and stops repainting. */
  finish(): void {
    if (this.finished) return;
    if (this.live) {
      this.repaint();
      if (this.painted.length > 0) this.stream.write('\n');
      this.stream.off?.('resize', this.onResize);
    } else if (this.last !== null && this.last !== this.lined) {
      this.line(this.last);
    }
    this.painted = [];
    this.finished = true;
  }

  [Symbol.dispose](): void {
    this.finish();
  }

  private line(event: ProgressEvent): void {
    this.stream.write(`${formatProgressLine(event)}\n`);
    this.lined = event;
  }

  private repaint(): void {
    if (!this.live || this.last === null || this.finished) return;
    const style = { columns: this.columns(), color: this.color, unicode: this.unicode };
    const lines = formatProgressBlock(this.last, style);
    this.stream.write(this.eraser() + lines.join('\n'));
    this.painted = lines;
    this.paintedAt = this.now();
  }

  /** Moves to the first painted line and clears from there. */
  private eraser(): string {
    if (this.painted.length === 0) return '';
    // A terminal that became narrower has wrapped the painted lines into more rows.
    const columns = this.columns();
    const rows = this.painted.reduce((sum, line) => sum + Math.max(1, Math.ceil(visibleLength(line) / columns)), 0);
    return `\r${rows > 1 ? `\x1b[${rows - 1}A` : ''}${CLEAR_BELOW}`;
  }

  private columns(): number {
    return this.stream.columns || 80;
  }
}

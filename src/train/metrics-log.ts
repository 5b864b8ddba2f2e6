/**
 * @file metrics.jsonl: what a training measured, one JSON object per line, appended as it goes and cut when it resumes.
 * It does not compute or draw anything; `report.ts` draws.
 */
import fs from 'node:fs';
import { explainWriteFailure, writeAll } from '../model/disk.js';

/** One line. Losses in nats per token. A number that is not finite is written as null and read as NaN. */
export interface MetricsRow {
  /** Optimizer steps done. */
  readonly step: number;
  /** Seconds since 1970. */
  readonly time: number;
  /** Seconds of training so far, over all sessions of the run. */
  readonly elapsedSeconds?: number;
  /** Tokens seen so far. */
  readonly tokens?: number;
  readonly trainLoss?: number;
  /** Exponential moving average of the training loss. */
  readonly emaLoss?: number;
  readonly validationLoss?: number;
  /** Training loss in bits per byte of text. */
  readonly bitsPerByte?: number;
  readonly validationBitsPerByte?: number;
  readonly learningRate?: number;
  /** Global norm before clipping. */
  readonly gradientNorm?: number;
  readonly tokensPerSecond?: number;
  /** Whatever else a training wants to keep. */
  readonly [name: string]: number | string | boolean | null | undefined;
}

export interface MetricsLogOptions {
  /** The step that the training resumes from: lines of later steps are cut off. Without it the log goes on as it is. */
  readonly resumeStep?: number;
  /** Lines between two fsyncs (0: only on `sync()` and `close()`); what was not synced may be lost in a power cut. */
  readonly fsyncEvery?: number;
}

const NEWLINE = 0x0a;
const BLOCK = 1 << 20;

/** An open metrics.jsonl. Each row reaches the system at once: a killed process loses none. */
export class MetricsLog {
  readonly path: string;
  private fd: number | null;
  private size: number;
  private unsynced = 0;
  private readonly fsyncEvery: number;

  /**
   * Opens or creates the file. A torn last line (the process was killed while it wrote) is cut off.
   *
   * @throws WriteError if the disk refuses.
   * @throws Error if a line before the last is not a row, naming the line.
   */
  constructor(file: string, options: MetricsLogOptions = {}) {
    this.path = file;
    this.fsyncEvery = options.fsyncEvery ?? 100;
    const fd = explained(file, () => fs.openSync(file, 'a+'));
    try {
      this.size = keptBytes(fd, file, options.resumeStep ?? Infinity);
      explained(file, () => fs.ftruncateSync(fd, this.size));
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    this.fd = fd;
  }

  /**
   * Adds one line. @throws WriteError if the disk refuses; the lines before it stand, and no half line stays, so that
   * the caller may try again.
   */
  append(row: MetricsRow): void {
    const fd = this.open();
    const line = Buffer.from(`${JSON.stringify(row)}\n`);
    explained(this.path, () => {
      try {
        writeAll(fd, line);
      } catch (error) {
        fs.ftruncateSync(fd, this.size);
        throw error;
      }
    });
    this.size += line.length;
    this.unsynced++;
    if (this.fsyncEvery > 0 && this.unsynced >= this.fsyncEvery) this.sync();
  }

  /** Makes all rows durable; called with each checkpoint. */
  sync(): void {
    const fd = this.open();
    if (this.unsynced > 0) explained(this.path, () => fs.fsyncSync(fd));
    this.unsynced = 0;
  }

  close(): void {
    if (this.fd === null) return;
    const fd = this.fd;
    try {
      this.sync();
    } finally {
      this.fd = null;
      fs.closeSync(fd);
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private open(): number {
    if (this.fd === null) throw new Error(`${this.path}: the log is closed`);
    return this.fd;
  }
}

function explained<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw explainWriteFailure(error, 'the metrics', file, undefined, 'the lines before stand');
  }
}

/** All rows of a metrics.jsonl. A torn last line is left out. @throws Error if another line is not a row, naming it. */
export function readMetrics(file: string): MetricsRow[] {
  const fd = fs.openSync(file, 'r');
  try {
    const rows: MetricsRow[] = [];
    for (const { row } of readRows(fd, file)) rows.push(row);
    return rows;
  } finally {
    fs.closeSync(fd);
  }
}

/** Bytes up to the first row beyond `lastStep`, or up to a torn last line. */
function keptBytes(fd: number, file: string, lastStep: number): number {
  let end = 0;
  for (const line of readRows(fd, file)) {
    if (line.row.step > lastStep) break;
    end = line.end;
  }
  return end;
}

/** The whole rows of the file, each with the position after its newline. */
function* readRows(fd: number, file: string): Generator<{ row: MetricsRow; end: number }> {
  const { size } = fs.fstatSync(fd);
  let number = 0;
  for (const { text, end } of readLines(fd)) {
    number++;
    const row = parseRow(text);
    if (row !== undefined) yield { row, end };
    else if (end < size) {
      const shown = JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}...` : text);
      throw new Error(
        `${file}:${number}: not a row of metrics (a JSON object with a step), found ${shown}; remove the line`,
      );
    }
  }
}

/** A row, or undefined if the line is not one. */
function parseRow(line: string): MetricsRow | undefined {
  let row: unknown;
  try {
    row = JSON.parse(line, (_, value: unknown) => (value === null ? NaN : value));
  } catch {
    return undefined;
  }
  if (typeof row !== 'object' || row === null) return undefined;
  return Number.isFinite((row as MetricsRow).step) ? (row as MetricsRow) : undefined;
}

/** The lines that end in a newline, in blocks: a log may be longer than the longest string. */
function* readLines(fd: number): Generator<{ text: string; end: number }> {
  const block = Buffer.alloc(BLOCK);
  let rest = Buffer.alloc(0);
  for (let position = 0; ;) {
    const count = fs.readSync(fd, block, 0, BLOCK, position);
    if (count === 0) return;
    const bytes = Buffer.concat([rest, block.subarray(0, count)]);
    const start = position - rest.length;
    let begin = 0;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, begin)) {
      yield { text: bytes.toString('utf8', begin, at), end: start + at + 1 };
      begin = at + 1;
    }
    rest = bytes.subarray(begin);
    position += count;
  }
}

/**
 * @file TensorBoard event files: scalars and texts of a training, for `tensorboard --logdir RUN`.
 * It writes only; the library itself reads `metrics.jsonl`.
 *
 * An event file is a TFRecord file: each record is its length (8 bytes, little-endian), the masked CRC-32C of these 8
 * bytes, the data, the masked CRC-32C of the data. The data is an Event message (tensorflow/core/util/event.proto) in
 * protobuf's wire format, of which this file writes the few fields it needs.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { explainWriteFailure, makeFolder, writeAll } from '../model/disk.js';

export interface TensorBoardOptions {
  /**
   * The step that the training resumes from: TensorBoard then drops what earlier sessions wrote into the folder for
   * later steps. Without it, it drops all.
   */
  readonly resumeStep?: number;
  /** Seconds since 1970, for the name of the file and as default for events. */
  readonly now?: () => number;
}

/** One session's event file. Each event reaches the system at once: a killed process loses none. */
export class TensorBoardWriter {
  readonly path: string;
  private readonly now: () => number;
  private fd: number | null;
  private size = 0;

  /** Begins a new event file in `folder`, beside those of earlier sessions. @throws WriteError if the disk refuses. */
  constructor(folder: string, options: TensorBoardOptions = {}) {
    this.now = options.now ?? (() => Date.now() / 1000);
    const { file, fd } = createEventFile(folder, Math.floor(this.now()));
    this.path = file;
    this.fd = fd;
    this.write(message(doubleField(EVENT.wallTime, this.now()), stringField(EVENT.fileVersion, 'brain.Event:2')));
    // TensorBoard drops what it has from this step on; it does so from the second START of a folder on, so that the
    // first session must write one too.
    const session = message(intField(SESSION_LOG.status, SESSION_START));
    this.event((options.resumeStep ?? -1) + 1, this.now(), bytesField(EVENT.sessionLog, session));
  }

  /** Adds one value per tag ("loss/train": 3.2), stored as float32. @throws WriteError if the disk refuses. */
  scalars(step: number, values: Readonly<Record<string, number | undefined>>, time = this.now()): void {
    const fields = Object.entries(values).flatMap(([tag, value]) =>
      value === undefined
        ? []
        : [bytesField(SUMMARY.value, message(stringField(VALUE.tag, tag), floatField(VALUE.simpleValue, value)))],
    );
    if (fields.length > 0) this.event(step, time, bytesField(EVENT.summary, message(...fields)));
  }

  /** Adds a text, which TensorBoard renders as Markdown; `codeBlock` shows it letter by letter. */
  text(step: number, tag: string, text: string, time = this.now()): void {
    const plugin = message(
      bytesField(METADATA.pluginData, message(stringField(PLUGIN.name, 'text'))),
      intField(METADATA.dataClass, DATA_TENSOR),
    );
    const shape = message(bytesField(SHAPE.dim, message(intField(DIM.size, 1))));
    const tensor = message(
      intField(TENSOR.dtype, DT_STRING),
      bytesField(TENSOR.shape, shape),
      stringField(TENSOR.stringValue, text),
    );
    const value = message(
      stringField(VALUE.tag, tag),
      bytesField(VALUE.tensor, tensor),
      bytesField(VALUE.metadata, plugin),
    );
    this.event(step, time, bytesField(EVENT.summary, message(bytesField(SUMMARY.value, value))));
  }

  /** Makes all events durable; called with each checkpoint. */
  sync(): void {
    try {
      if (this.fd !== null) fs.fsyncSync(this.fd);
    } catch (error) {
      throw this.explained(error);
    }
  }

  close(): void {
    if (this.fd !== null) fs.closeSync(this.fd);
    this.fd = null;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private event(step: number, time: number, content: Uint8Array): void {
    if (!Number.isSafeInteger(step) || step < 0)
      throw new RangeError(`TensorBoardWriter: step must be an integer of at least 0, got ${step}`);
    this.write(message(doubleField(EVENT.wallTime, time), intField(EVENT.step, step), content));
  }

  private write(data: Uint8Array): void {
    if (this.fd === null) throw new Error(`${this.path}: the event file is closed`);
    const bytes = record(data);
    try {
      writeAll(this.fd, bytes);
    } catch (error) {
      fs.ftruncateSync(this.fd, this.size); // no half record stays, so that the caller may go on
      throw this.explained(error);
    }
    this.size += bytes.length;
  }

  private explained(error: unknown): unknown {
    return explainWriteFailure(error, 'the TensorBoard events', this.path, undefined, 'the events before stand');
  }
}

/** Text as Markdown that shows it as it is. */
export function codeBlock(text: string): string {
  return text
    .split('\n')
    .map((line) => `    ${line}`)
    .join('\n');
}

/** TensorBoard reads the files of a folder in the order of their names: a later session needs a later second. */
function createEventFile(folder: string, second: number): { file: string; fd: number } {
  try {
    makeFolder(folder);
    const earlier = fs.readdirSync(folder).flatMap((name) => /^events\.out\.tfevents\.(\d+)\./.exec(name)?.[1] ?? []);
    const time = Math.max(second, ...earlier.map((digits) => Number(digits) + 1));
    const file = path.join(folder, `events.out.tfevents.${String(time).padStart(10, '0')}.${os.hostname()}`);
    return { file, fd: fs.openSync(file, 'ax') };
  } catch (error) {
    throw explainWriteFailure(error, 'TensorBoard events into', folder, undefined, 'nothing was written');
  }
}

// ---- protobuf: field numbers and the wire format (https://protobuf.dev/programming-guides/encoding) ----------------

const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 } as const;
const SESSION_LOG = { status: 1 } as const;
const SESSION_START = 1;
const SUMMARY = { value: 1 } as const;
const VALUE = { tag: 1, simpleValue: 2, tensor: 8, metadata: 9 } as const;
const METADATA = { pluginData: 1, dataClass: 4 } as const;
const DATA_TENSOR = 2;
const PLUGIN = { name: 1 } as const;
const TENSOR = { dtype: 1, shape: 2, stringValue: 8 } as const;
const DT_STRING = 7;
const SHAPE = { dim: 2 } as const;
const DIM = { size: 1 } as const;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;

function message(...fields: Uint8Array[]): Uint8Array {
  return Buffer.concat(fields);
}

/** Seven bits at a time, lowest first; `value` is an integer from 0 to 2^53 - 1. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) | 0x80);
  bytes.push(value);
  return bytes;
}

function key(field: number, type: number): number[] {
  return varint(field * 8 + type);
}

function intField(field: number, value: number): Uint8Array {
  return Uint8Array.from([...key(field, VARINT), ...varint(value)]);
}

function doubleField(field: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(9, key(field, FIXED64)[0]);
  bytes.writeDoubleLE(value, 1);
  return bytes;
}

function floatField(field: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(5, key(field, FIXED32)[0]);
  bytes.writeFloatLE(value, 1);
  return bytes;
}

function bytesField(field: number, value: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.from([...key(field, LENGTH), ...varint(value.length)]), value]);
}

function stringField(field: number, value: string): Uint8Array {
  return bytesField(field, Buffer.from(value));
}

// ---- TFRecord ------------------------------------------------------------------------------------------------------

function record(data: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(12 + data.length + 4);
  bytes.writeBigUInt64LE(BigInt(data.length), 0);
  bytes.writeUInt32LE(maskedCrc32c(bytes.subarray(0, 8)), 8);
  bytes.set(data, 12);
  bytes.writeUInt32LE(maskedCrc32c(data), 12 + data.length);
  return bytes;
}

/** TFRecord stores the checksum rotated and shifted, since a checksum over data that holds its own checksum is weak. */
function maskedCrc32c(data: Uint8Array): number {
  const crc = crc32c(data);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** The remainders of all single bytes for Castagnoli's polynomial 0x1EDC6F41, bits reversed. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** CRC-32C (RFC 3720, appendix B.4). */
function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff]!;
  return ~crc >>> 0;
}

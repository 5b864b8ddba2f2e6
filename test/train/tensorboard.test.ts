import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import protobuf from 'protobufjs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { codeBlock, TensorBoardWriter } from '../../src/train/tensorboard.js';
import { systemError, temporaryFolder } from '../support/folders.js';

afterEach(() => vi.restoreAllMocks());

// The part of TensorFlow's event.proto, summary.proto and tensor.proto that is read here.
const { root } = protobuf.parse(
  `
  syntax = "proto3";
  message Event {
    double wall_time = 1; int64 step = 2;
    oneof what { string file_version = 3; bytes graph_def = 4; Summary summary = 5; SessionLog session_log = 7; }
  }
  message SessionLog { enum Status { UNSPECIFIED = 0; START = 1; STOP = 2; CHECKPOINT = 3; } Status status = 1; }
  message SummaryMetadata {
    message PluginData { string plugin_name = 1; bytes content = 2; }
    PluginData plugin_data = 1; string display_name = 2; string summary_description = 3; DataClass data_class = 4;
  }
  enum DataClass { DATA_CLASS_UNKNOWN = 0; DATA_CLASS_SCALAR = 1; DATA_CLASS_TENSOR = 2; DATA_CLASS_BLOB_SEQUENCE = 3; }
  message Summary {
    message Value { string tag = 1; oneof value { float simple_value = 2; TensorProto tensor = 8; } SummaryMetadata metadata = 9; }
    repeated Value value = 1;
  }
  enum DataType { DT_INVALID = 0; DT_FLOAT = 1; DT_STRING = 7; }
  message TensorShapeProto { message Dim { int64 size = 1; string name = 2; } repeated Dim dim = 2; bool unknown_rank = 3; }
  message TensorProto { DataType dtype = 1; TensorShapeProto tensor_shape = 2; repeated bytes string_val = 8; }
`,
  { keepCase: true },
);
const Event = root.lookupType('Event');

/** CRC-32C bit by bit, by polynomial division with the polynomial of RFC 3720 as it is printed, most significant bit first. */
function crc32c(bytes: Uint8Array): number {
  let remainder = 0xffffffffn;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const carry = ((remainder >> 31n) & 1n) ^ BigInt((byte >> bit) & 1);
      remainder = (remainder << 1n) & 0xffffffffn;
      if (carry) remainder ^= 0x1edc6f41n;
    }
  }
  const reversed = remainder.toString(2).padStart(32, '0').split('').reverse().join('');
  return Number(BigInt(`0b${reversed}`) ^ 0xffffffffn);
}

function masked(bytes: Uint8Array): number {
  const crc = BigInt(crc32c(bytes));
  return Number((((crc >> 15n) | ((crc << 17n) & 0xffffffffn)) + 0xa282ead8n) & 0xffffffffn);
}

interface Decoded {
  wall_time: number;
  step?: number;
  file_version?: string;
  session_log?: { status: string };
  summary?: {
    value: {
      tag: string;
      simple_value?: number;
      tensor?: { dtype: string; tensor_shape: unknown; string_val: Buffer[] };
      metadata?: unknown;
    }[];
  };
}

/** All events of a file, checksums checked. */
function readEvents(file: string): Decoded[] {
  const bytes = fs.readFileSync(file);
  const events: Decoded[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(bytes.readUInt32LE(at + 8)).toBe(masked(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(data.length).toBe(length);
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(masked(data));
    const event = Event.decode(data);
    events.push(Event.toObject(event, { longs: Number, enums: String, arrays: true }) as Decoded);
    at += 12 + length + 4;
  }
  return events;
}

describe('the checksum of this test', () => {
  it.each([
    ['123456789', 0xe3069283], // the check value of the CRC catalogue
    ['\0'.repeat(32), 0x8a9136aa], // RFC 3720, B.4
    ['\xff'.repeat(32), 0x62a8ab43],
    [String.fromCharCode(...Array(32).keys()), 0x46dd794e],
  ])('knows the published vector %#', (text, expected) => {
    expect(crc32c(Buffer.from(text, 'latin1'))).toBe(expected);
  });
});

describe('TensorBoardWriter', () => {
  it('writes scalars that an independent parser reads back', () => {
    const folder = path.join(temporaryFolder(), 'run');
    const writer = new TensorBoardWriter(folder, { now: () => 1234567.5 });
    expect(writer.path).toBe(path.join(folder, `events.out.tfevents.0001234567.${os.hostname()}`));
    writer.scalars(1, { 'loss/train': 3.25, lr: 1e-3, absent: undefined }, 1700000000.25);
    writer.scalars(2 ** 40 + 3, { 'loss/train': NaN, 'ä/ö': -Infinity });
    writer.scalars(5, {});
    writer.close();
    const [version, start, first, second, ...rest] = readEvents(writer.path);
    expect(rest).toEqual([]);
    expect(version).toEqual({ wall_time: 1234567.5, file_version: 'brain.Event:2' });
    expect(start).toEqual({ wall_time: 1234567.5, session_log: { status: 'START' } }); // step 0 is left out
    const lr = Math.fround(1e-3);
    expect(first).toEqual({
      wall_time: 1700000000.25,
      step: 1,
      summary: {
        value: [
          { tag: 'loss/train', simple_value: 3.25 },
          { tag: 'lr', simple_value: lr },
        ],
      },
    });
    expect(second).toEqual({
      wall_time: 1234567.5,
      step: 2 ** 40 + 3,
      summary: {
        value: [
          { tag: 'loss/train', simple_value: NaN },
          { tag: 'ä/ö', simple_value: -Infinity },
        ],
      },
    });
    expect(() => writer.scalars(3, { a: 1 })).toThrow('the event file is closed');
  });

  it('writes texts of any length and content', () => {
    const texts = ['', 'To be\n\n"or" <b>not</b> \0 ä 漢 🙂', 'x'.repeat(100_000)];
    using writer = new TensorBoardWriter(temporaryFolder());
    texts.forEach((text, step) => writer.text(step, 'sample', text));
    const events = readEvents(writer.path).slice(2);
    expect(events.map(({ step }) => step ?? 0)).toEqual([0, 1, 2]); // the parser leaves zeros out
    expect(events.map((event) => event.summary!.value[0]!.tensor!.string_val.map(String))).toEqual(
      texts.map((text) => [text]),
    );
    expect(events[1]!.summary!.value).toMatchObject([
      {
        tag: 'sample',
        tensor: { dtype: 'DT_STRING', tensor_shape: { dim: [{ size: 1 }] } },
        metadata: { plugin_data: { plugin_name: 'text' }, data_class: 'DATA_CLASS_TENSOR' },
      },
    ]);
    expect(codeBlock('a\n b')).toBe('    a\n     b');
  });

  it('begins a later file when it resumes and drops the steps after', () => {
    const folder = temporaryFolder();
    const now = () => 1700000000;
    const paths: string[] = [];
    for (const options of [{ now }, { now, resumeStep: 40 }, { now: () => 1600000000, resumeStep: 0 }]) {
      using writer = new TensorBoardWriter(folder, options);
      paths.push(writer.path);
    }
    expect(paths).toEqual(
      fs
        .readdirSync(folder)
        .toSorted()
        .map((name) => path.join(folder, name)),
    );
    expect(paths.map((file) => path.basename(file).split('.')[3])).toEqual(['1700000000', '1700000001', '1700000002']);
    expect(readEvents(paths[0]!)[1]).toEqual({ wall_time: 1700000000, session_log: { status: 'START' } });
    expect(readEvents(paths[1]!)[1]).toEqual({ wall_time: 1700000000, step: 41, session_log: { status: 'START' } });
    expect(readEvents(paths[2]!)[1]).toMatchObject({ step: 1, session_log: { status: 'START' } });
  });

  it('refuses a step that is none', () => {
    using writer = new TensorBoardWriter(temporaryFolder());
    expect(() => writer.scalars(-1, { a: 1 })).toThrow('step must be an integer of at least 0, got -1');
    expect(() => writer.text(0.5, 'a', '')).toThrow(RangeError);
  });

  it('leaves no half record on a full disk', () => {
    using writer = new TensorBoardWriter(temporaryFolder());
    writer.scalars(1, { a: 1 });
    const { writeSync } = fs;
    let calls = 0;
    vi.spyOn(fs, 'writeSync').mockImplementation(((fd: number, bytes: Uint8Array, offset: number, length: number) => {
      if (calls++ > 0) throw systemError('ENOSPC');
      return writeSync(fd, bytes, offset, Math.min(length, 9));
    }) as typeof fs.writeSync);
    expect(() => writer.scalars(2, { a: 2 })).toThrow(
      /^cannot write the TensorBoard events .*: the disk is full \(ENOSPC, .*; the events before stand$/,
    );
    vi.restoreAllMocks();
    writer.scalars(3, { a: 3 });
    expect(readEvents(writer.path).map(({ step }) => step)).toEqual([undefined, undefined, 1, 3]);
  });
});

/** @file Options that several commands share, and the checks of their values. */
import { InvalidArgumentError, Option } from 'commander';
import { deviceNames } from '../device/open.js';
import { weightStorages } from '../model/load-weights.js';

/** Reads a number of an option. @throws InvalidArgumentError when it is none or below the least. */
export const numberFrom =
  (least: number, whole = false) =>
  (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It must be a number.');
    if (whole && !Number.isInteger(value)) throw new InvalidArgumentError('It must be a whole number.');
    if (value < least) throw new InvalidArgumentError(`It must be at least ${least}.`);
    return value;
  };

export const deviceOption = (): Option =>
  new Option('--device <name>', 'what computes').choices(['auto', ...deviceNames]).default('auto');

export const threadsOption = (): Option =>
  new Option(
    '--threads <n>',
    'threads of the cpu device (default: one per core; results do not depend on it)',
  ).argParser(numberFrom(1, true));

export const weightsOption = (): Option =>
  new Option('--weights <storage>', 'hold matrices as they are stored, or packed')
    .choices(weightStorages)
    .default('stored');

export const sourceBackendOption = (): Option =>
  new Option(
    '--source-backend <name>',
    'backend of NX-AI/xlstm that wrote the sLSTM parameters, where their shapes do not tell',
  ).choices(['vanilla', 'cuda']);

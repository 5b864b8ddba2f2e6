/** @file The options by which a command opens a model, and what they mean to the library. */
import type { Command } from 'commander';
import type { DeviceChoice } from '../device/open.js';
import type { LoadOptions } from '../generate/text-model.js';
import type { WeightStorage } from '../model/load-weights.js';
import { deviceOption, sourceBackendOption, threadsOption, weightsOption } from './options.js';

export interface ModelOptions {
  readonly weights: WeightStorage;
  readonly sourceBackend?: 'vanilla' | 'cuda';
  readonly device: DeviceChoice;
  readonly threads?: number;
}

export const addModelOptions = (command: Command): Command =>
  command
    .addOption(weightsOption())
    .addOption(sourceBackendOption())
    .addOption(deviceOption())
    .addOption(threadsOption());

/** For opening a device. */
export const tellFallback = { onFallback: (reason: string): void => void process.stderr.write(`${reason}\n`) };

/** For `TextModel.load`. */
export const loadOptions = ({ weights: storage, sourceBackend, device, threads }: ModelOptions) =>
  ({
    storage,
    device,
    ...(sourceBackend && { sourceBackend }),
    ...(threads !== undefined && { threads }),
  }) satisfies LoadOptions;

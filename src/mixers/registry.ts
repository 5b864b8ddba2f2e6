/** @file The mixers by name. A new one is its file and a line here. */
import { createMlstm, type MlstmConfig } from './mlstm.js';
import { createMlstmLarge, type MlstmLargeConfig } from './mlstm-large.js';
import type { Mixer, MixerPlace } from './mixer.js';
import { createLstm, createSlstm, type SlstmConfig } from './slstm.js';

export const MIXERS = {
  mlstm: { create: createMlstm, feedForward: false },
  slstm: { create: createSlstm, feedForward: true },
  lstm: { create: createLstm, feedForward: true },
  mlstmLarge: { create: createMlstmLarge, feedForward: true },
} as const;

export type MixerName = keyof typeof MIXERS;

export const mixerNames = Object.keys(MIXERS) as MixerName[];

export interface MixerConfigs {
  readonly mlstm: MlstmConfig;
  readonly slstm: SlstmConfig;
  readonly lstm: SlstmConfig;
  readonly mlstmLarge: MlstmLargeConfig;
}

/** Makes the mixer of a block. @throws RangeError when its configuration does not fit the width. */
export function createMixer(name: MixerName, configs: MixerConfigs, place: MixerPlace): Mixer {
  switch (name) {
    case 'mlstm':
      return MIXERS.mlstm.create(configs.mlstm, place);
    case 'mlstmLarge':
      return MIXERS.mlstmLarge.create(configs.mlstmLarge, place);
    default:
      return MIXERS[name].create(configs[name], place);
  }
}

/** Whether the block of this mixer has a feed-forward layer behind it (post-up-projection frame). */
export const hasFeedForward = (name: MixerName): boolean => MIXERS[name].feedForward;

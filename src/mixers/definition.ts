/**
 * @file What a file with a mixer in it exports: a name, options with their meanings, and how a mixer is made of them.
 * The built-in ones are listed in `registry.ts`; a user's own is registered there at run time.
 */
import type * as z from 'zod';
import type { Mixer, MixerPlace } from './mixer.js';

/**
 * What stands behind a mixer in its residual block: nothing, the feed-forward layer of the model's configuration, or the
 * channel mix of RWKV with its own state: that of RWKV-4 to 6, or that of RWKV-7, which has no gate.
 */
export type FeedForwardKind = 'none' | 'layer' | 'channelMix' | 'plainChannelMix';

export interface MixerDefinition<Options extends z.ZodObject = z.ZodObject> {
  /** As configurations call it: lower camel case. */
  readonly name: string;
  /** What it is, in one line, with its source. */
  readonly summary: string;
  /** Every option with default and description, so that `{}` is a complete configuration. */
  readonly options: Options;
  /** What its published architecture has behind it. */
  readonly feedForward: FeedForwardKind;
  /** @throws RangeError when an option does not fit the width. */
  create(options: z.output<Options>, place: MixerPlace): Mixer;
}

/** Types a definition; also what a user's mixer file exports by default. */
export const defineMixer = <Options extends z.ZodObject>(
  definition: MixerDefinition<Options>,
): MixerDefinition<Options> => definition;

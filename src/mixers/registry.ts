/** @file The mixers by name. A new one is its file and a line here; a user's own is added with `registerMixer`. */
import { attentionMixer } from './attention.js';
import { bigsMixer } from './bigs.js';
import type { MixerDefinition } from './definition.js';
import { dssMixer } from './dss.js';
import { h3Mixer } from './h3.js';
import { hgrnMixer } from './hgrn.js';
import { hyenaMixer } from './hyena.js';
import { mambaMixer } from './mamba.js';
import { mamba2Mixer } from './mamba2.js';
import { deltanetMixer } from './deltanet.js';
import { gatedDeltanetMixer } from './gated-deltanet.js';
import { glaMixer } from './gla.js';
import { hgrn2Mixer } from './hgrn2.js';
import { linearAttentionMixer } from './linear-attention.js';
import { linformerMixer } from './linformer.js';
import { mlstmLargeMixer } from './mlstm-large.js';
import { mlstmMixer } from './mlstm.js';
import { performerMixer } from './performer.js';
import { retnetMixer } from './retnet.js';
import { rwkv4Mixer } from './rwkv4.js';
import { rwkv5Mixer } from './rwkv5.js';
import { rwkv6Mixer } from './rwkv6.js';
import { rwkv7Mixer } from './rwkv7.js';
import { s4Mixer } from './s4.js';
import { s4dMixer } from './s4d.js';
import { lstmMixer, slstmMixer } from './slstm.js';
import { synthesizerMixer } from './synthesizer.js';

/** The mixers of this library. */
export const MIXERS = {
  mlstm: mlstmMixer,
  slstm: slstmMixer,
  lstm: lstmMixer,
  mlstmLarge: mlstmLargeMixer,
  attention: attentionMixer,
  synthesizer: synthesizerMixer,
  linformer: linformerMixer,
  mamba: mambaMixer,
  rwkv4: rwkv4Mixer,
  hgrn: hgrnMixer,
  deltanet: deltanetMixer,
  gatedDeltanet: gatedDeltanetMixer,
  rwkv5: rwkv5Mixer,
  rwkv6: rwkv6Mixer,
  rwkv7: rwkv7Mixer,
  linearAttention: linearAttentionMixer,
  performer: performerMixer,
  retnet: retnetMixer,
  gla: glaMixer,
  hgrn2: hgrn2Mixer,
  mamba2: mamba2Mixer,
  s4: s4Mixer,
  s4d: s4dMixer,
  dss: dssMixer,
  bigs: bigsMixer,
  h3: h3Mixer,
  hyena: hyenaMixer,
} as const satisfies Record<string, MixerDefinition>;

export type MixerName = keyof typeof MIXERS;

const registered = new Map<string, MixerDefinition>();

/** Names of all mixers, those of this library first. */
export const mixerNames = (): string[] => [...Object.keys(MIXERS), ...registered.keys()];

/** The definition of a mixer, or undefined. */
export const findMixer = (name: string): MixerDefinition | undefined =>
  registered.get(name) ?? (MIXERS as Readonly<Record<string, MixerDefinition>>)[name];

/** Whether a mixer is a user's own: its options stand under `custom` in a configuration. */
export const isCustomMixer = (name: string): boolean => registered.has(name);

/**
 * Makes a user's mixer known by its name, for configurations that are read from now on. The same again replaces it.
 * @throws RangeError for a name that is one of this library's, or that is no name.
 */
export function registerMixer(definition: MixerDefinition): void {
  const { name } = definition;
  if (name in MIXERS) throw new RangeError(`registerMixer: "${name}" is a mixer of the library; choose another name`);
  if (!/^[a-zA-Z]\w*$/.test(name)) throw new RangeError(`registerMixer: "${name}" is not a name (letters and digits)`);
  registered.set(name, definition);
}

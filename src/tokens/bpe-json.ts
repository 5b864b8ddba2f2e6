/**
 * @file Byte-level BPE as tokenizer.json: writing it, and recognising the files that `bpe.ts` encodes exactly (our own,
 * GPT-2, GPT-NeoX and their kind). A file that differs in anything it does not know is left to others.
 */
import { BpeTokenizer } from './bpe.js';
import { MergeRules } from './bpe-merge.js';
import { spellBytes, unspellBytes } from './byte-alphabet.js';
import { BPE_DEFAULTS, specialToken } from './bytes.js';
import { GPT2_PATTERN } from './pretokenize.js';
import type { Component, TokenizerConfig, TokenizerJson } from './tokenizer-json.js';

/**
 * The tokenizer.json of a trained byte-level BPE.
 * @param tokens    bytes of each id: first the 256 bytes, then one for each merge.
 * @param merges    pairs of ids, in order.
 * @param specials  special tokens; they take the ids after the tokens.
 */
export function bpeJson(
  tokens: readonly Uint8Array[],
  merges: readonly (readonly [number, number])[],
  specials: readonly string[],
): TokenizerJson {
  const spelled = tokens.map(spellBytes);
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, k) => specialToken(tokens.length + k, content)),
    normalizer: null,
    // Split by our pattern rather than by ByteLevel's own: there engines disagree on what white space is.
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: GPT2_PATTERN }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    model: {
      type: 'BPE',
      ...BPE_DEFAULTS,
      vocab: Object.fromEntries([...spelled, ...specials].map((token, id) => [token, id])),
      merges: merges.map(([left, right]) => [spelled[left]!, spelled[right]!]),
    },
  };
}

/**
 * The encoder of a tokenizer.json, if every part of it is of a kind known here; null if not.
 * @param name  the file, for errors.
 * @throws Error if the file is of the kind but wrong in itself, such as a merge whose result is not a token.
 */
export function bpeFromJson(json: TokenizerJson, config: TokenizerConfig | null, name: string): BpeTokenizer | null {
  const normalize = normalizer(json.normalizer);
  const cutWords = preTokenizer(json.pre_tokenizer);
  const around = postProcessor(json.post_processor);
  if (normalize === null || cutWords === null || around === null) return null;
  if (json.decoder?.type !== 'ByteLevel' || !isPlainBpe(json.model)) return null;

  // A Map: tokens such as "constructor" must not find what every object has.
  const vocab = new Map(Object.entries(json.model.vocab as Record<string, number>));
  const added = new Set(json.added_tokens.map((token) => token.content));
  const tokenBytes: Uint8Array[] = [];
  for (const [token, id] of vocab) {
    const bytes = unspellBytes(token);
    if (bytes !== null) tokenBytes[id] = bytes;
    else if (!added.has(token)) return null;
  }
  const byteIds = Int32Array.from({ length: 256 }, (_, byte) => vocab.get(spellBytes(Uint8Array.of(byte))) ?? -1);
  if (!BYTES_IN_UTF8.every((byte) => byteIds[byte] !== -1)) return null;
  const rules = new MergeRules(mergesOf(json.model.merges as readonly unknown[], vocab, name));
  const wholeWords = json.model.ignore_merges === true ? wholeWordsOf(tokenBytes) : null;
  return new BpeTokenizer({ json, config, tokenBytes, normalize, ...around, rules, byteIds, cutWords, wholeWords });
}

/** GPT-NeoX has no tokens for the bytes that UTF-8 never uses. */
const BYTES_IN_UTF8 = Array.from({ length: 0xf5 }, (_, byte) => byte).filter((byte) => byte !== 0xc0 && byte !== 0xc1);

function mergesOf(
  merges: readonly unknown[],
  vocab: ReadonlyMap<string, number>,
  name: string,
): [number, number, number][] {
  return merges.map((merge, rank) => {
    const [left = '', right = ''] = typeof merge === 'string' ? merge.split(' ') : (merge as string[]);
    const ids = [vocab.get(left), vocab.get(right), vocab.get(left + right)] as const;
    if (ids[0] === undefined || ids[1] === undefined || ids[2] === undefined) {
      const missing = [left, right, left + right].find((token) => !vocab.has(token));
      throw new Error(
        `${name}: merge ${rank} ("${left}" "${right}") needs the token "${missing}", which the vocabulary lacks; the file is damaged`,
      );
    }
    return [ids[0], ids[1], ids[2]];
  });
}

/** Tokens that are whole text (not a part of a character), by that text. */
function wholeWordsOf(tokenBytes: readonly (Uint8Array | undefined)[]): Map<string, number> {
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const words = new Map<string, number>();
  tokenBytes.forEach((bytes, id) => {
    try {
      if (bytes) words.set(utf8.decode(bytes), id);
    } catch {
      // Not UTF-8 on its own, so never a whole word.
    }
  });
  return words;
}

const isOff = (value: unknown): boolean =>
  value === undefined || value === null || value === false || value === '' || value === 0;

function isPlainBpe(model: TokenizerJson['model']): boolean {
  const { type, vocab, merges } = model;
  const looksLikeBpe = type === 'BPE' || (type === undefined && merges !== undefined);
  const off = [model.dropout, model.continuing_subword_prefix, model.end_of_word_suffix, model.byte_fallback];
  return looksLikeBpe && typeof vocab === 'object' && vocab !== null && Array.isArray(merges) && off.every(isOff);
}

const FORMS = ['NFC', 'NFD', 'NFKC', 'NFKD'] as const;

function normalizer(part: Component | null): ((text: string) => string) | null {
  if (part === null) return (text) => text;
  const form = FORMS.find((known) => known === part.type);
  return form === undefined ? null : (text) => text.normalize(form);
}

/** Whether words are cut; null if the part is of another kind. */
function preTokenizer(part: Component | null): boolean | null {
  if (part?.type === 'ByteLevel') return part.add_prefix_space === false ? part.use_regex !== false : null;
  if (part?.type !== 'Sequence' || !Array.isArray(part.pretokenizers) || part.pretokenizers.length !== 2) return null;
  const [split, bytes] = part.pretokenizers as [Component, Component];
  const isGpt2Split =
    split.type === 'Split' &&
    (split.pattern as { Regex?: string }).Regex === GPT2_PATTERN &&
    split.behavior === 'Isolated' &&
    split.invert !== true;
  return isGpt2Split && bytes.type === 'ByteLevel' && bytes.add_prefix_space === false && bytes.use_regex === false
    ? true
    : null;
}

interface Around {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** The special tokens that the post-processor puts around a text; null if it is of another kind. */
function postProcessor(part: Component | null): Around | null {
  if (part === null || part.type === 'ByteLevel') return { before: [], after: [] };
  if (part.type === 'Sequence' && Array.isArray(part.processors)) {
    const rest = (part.processors as Component[]).filter((step) => step.type !== 'ByteLevel');
    return rest.length <= 1 ? postProcessor(rest[0] ?? null) : null;
  }
  if (part.type !== 'TemplateProcessing' || !Array.isArray(part.single)) return null;
  const specials = part.special_tokens as Record<string, { ids: number[] }>;
  const before: number[] = [];
  const after: number[] = [];
  let side = before;
  for (const step of part.single as { SpecialToken?: { id: string }; Sequence?: unknown }[]) {
    if (step.Sequence !== undefined) side = after;
    else side.push(...(specials[step.SpecialToken?.id ?? '']?.ids ?? []));
  }
  return { before, after };
}

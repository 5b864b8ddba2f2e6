/**
 * @file The tokenizer.json format: its types, reading it with checks, its canonical form and fingerprint, and the
 * special ids that it and tokenizer_config.json name. It does not encode, and it does not touch the disk.
 */
import { Sha256 } from '../sha256.js';

export interface AddedTokenJson {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

/** A part of the pipeline (normalizer, pre_tokenizer, ...): a type and whatever else that type has. */
export type Component = { readonly type: string } & Readonly<Record<string, unknown>>;

export interface TokenizerJson {
  readonly version: string;
  readonly truncation: unknown;
  readonly padding: unknown;
  readonly added_tokens: readonly AddedTokenJson[];
  readonly normalizer: Component | null;
  readonly pre_tokenizer: Component | null;
  readonly post_processor: Component | null;
  readonly decoder: Component | null;
  readonly model: Readonly<Record<string, unknown>>;
}

/** tokenizer_config.json: only what is used here has a name. */
export type TokenizerConfig = Readonly<Record<string, unknown>>;

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Parses and checks a tokenizer.json; parts that are missing become null.
 * @param name  the file, for errors.
 * @throws Error saying what the file lacks.
 */
export function parseTokenizerJson(text: string, name: string): TokenizerJson {
  const json = parseObject(text, name);
  if (!isFields(json.model)) {
    throw new Error(`${name}: not a tokenizer.json, it has no "model"; it comes beside the model as tokenizer.json`);
  }
  const component = (key: string): Component | null => {
    const value = json[key] ?? null;
    if (value !== null && !(isFields(value) && typeof value.type === 'string')) {
      throw new Error(`${name}: "${key}" must be null or an object with a "type"`);
    }
    return value as Component | null;
  };
  return {
    version: typeof json.version === 'string' ? json.version : '1.0',
    truncation: json.truncation ?? null,
    padding: json.padding ?? null,
    added_tokens: addedTokens(json.added_tokens ?? [], name),
    normalizer: component('normalizer'),
    pre_tokenizer: component('pre_tokenizer'),
    post_processor: component('post_processor'),
    decoder: component('decoder'),
    model: json.model,
  };
}

/** @throws Error if the text is not a JSON object. */
export function parseObject(text: string, name: string): Fields {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(`${name}: not valid JSON: ${(error as Error).message}`, { cause: error });
  }
  if (!isFields(json)) throw new Error(`${name}: must hold a JSON object`);
  return json;
}

function addedTokens(list: unknown, name: string): AddedTokenJson[] {
  if (!Array.isArray(list)) throw new Error(`${name}: "added_tokens" must be a list`);
  return list.map((token: unknown) => {
    if (!isFields(token) || typeof token.content !== 'string' || !Number.isInteger(token.id)) {
      throw new Error(`${name}: an added token needs an "id" and a "content", got ${JSON.stringify(token)}`);
    }
    const special = token.special === true;
    return {
      id: token.id as number,
      content: token.content,
      single_word: token.single_word === true,
      lstrip: token.lstrip === true,
      rstrip: token.rstrip === true,
      normalized: typeof token.normalized === 'boolean' ? token.normalized : !special,
      special,
    };
  });
}

/**
 * SHA-256 (hex) of what decides the ids: keys sorted, merges as pairs, and without what does not change an encoding
 * (version, truncation, padding, model options that are null or false).
 */
export function fingerprintOf(json: TokenizerJson): string {
  const model = Object.fromEntries(Object.entries(json.model).filter(([, value]) => value !== null && value !== false));
  if (Array.isArray(model.merges)) {
    model.merges = model.merges.map((merge: unknown) => (typeof merge === 'string' ? merge.split(' ') : merge));
  }
  const { version: _version, truncation: _truncation, padding: _padding, ...rest } = json;
  return new Sha256().update(JSON.stringify(sorted({ ...rest, model }))).hex();
}

/** The same value with the keys of every object in order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isFields(value)) return value;
  const keys = Object.keys(value).sort();
  // A list of pairs: an object would put keys that look like numbers first, and lose "__proto__".
  return ['object', ...keys.map((key) => [key, sorted(value[key])])];
}

export interface SpecialIds {
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
}

/** Names under which special tokens go where no tokenizer_config.json says which is which. */
const USUAL = {
  bos: ['<s>', '<|begin_of_text|>', '<bos>', '<|endoftext|>'],
  eos: ['</s>', '<|end_of_text|>', '<eos>', '<|endoftext|>'],
  pad: ['<pad>', '<|padding|>', '<|pad|>', '[PAD]'],
} as const;

/** The ids of the beginning, end and padding tokens: as the config says, else by the usual names. */
export function specialIds(json: TokenizerJson, config: TokenizerConfig | null): SpecialIds {
  const vocab = isFields(json.model.vocab) ? json.model.vocab : {};
  const find = (role: keyof typeof USUAL): number | null => {
    const key = `${role}_token`;
    const named = config?.[key];
    const content = isFields(named) ? named.content : named;
    if (typeof content === 'string') {
      const id = json.added_tokens.find((token) => token.content === content)?.id ?? vocab[content];
      return typeof id === 'number' ? id : null;
    }
    if (config !== null && key in config) return null;
    for (const usual of USUAL[role]) {
      const token = json.added_tokens.find((added) => added.special && added.content === usual);
      if (token) return token.id;
    }
    return null;
  };
  return { bosId: find('bos'), eosId: find('eos'), padId: find('pad') };
}

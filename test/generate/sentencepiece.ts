/** @file A small tokenizer.json of the SentencePiece kind, as Llama's: spaces are "▁", one is put before a text, other characters are bytes. */
import { tokenizerFromJson } from '../../src/tokens/any-kind.js';
import { parseTokenizerJson } from '../../src/tokens/tokenizer-json.js';
import type { Tokenizer } from '../../src/tokens/tokenizer.js';

const BYTES = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
const LETTERS = [...'▁abcdefghijklmnopqrstuvwxyz.,\n'];
const MERGES = [
  ['t', 'h'],
  ['th', 'e'],
  ['▁', 'the'],
  ['▁', 'a'],
  ['e', 'n'],
  ['en', 'd'],
  ['▁', '▁'],
  ['\n', '\n'],
] as const;

export function sentencePieceTokenizer(): Tokenizer {
  const tokens = ['<unk>', '<s>', '</s>', ...BYTES, ...LETTERS, ...MERGES.map((pair) => pair.join(''))];
  const special = (id: number) => ({ id, content: tokens[id], special: true });
  const json = {
    added_tokens: [0, 1, 2].map(special),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: MERGES,
    },
  };
  return tokenizerFromJson(parseTokenizerJson(JSON.stringify(json), 'sentencepiece'), null, 'sentencepiece');
}

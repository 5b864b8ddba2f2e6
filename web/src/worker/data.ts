/** @file A text as batches to train on: reads it, makes its tokenizer, and holds out its end. It does not train. */
import { ByteTokenizer, charTokenizer, textPart, trainBpe, type TextPart, type Tokenizer } from 'xlstm';
import type { TextChoice, TokenizerKind } from '../protocol.js';

/** More of a file is not read: tokens take four bytes each. */
const MOST_BYTES = 32 << 20;
/** A BPE learns its words from so many characters. */
const BPE_CHARACTERS = 4 << 20;
const BPE_TOKENS = 1024;
/** Part of the text that is held out: its end. */
const HELD_OUT = 0.1;
/** The cut is put behind a line or a word that ends within so many characters. */
const CUT_REACH = 2000;

export interface NamedText {
  readonly name: string;
  readonly text: string;
}

/** @throws Error in a sentence when it is no text, or cannot be read. */
export async function readText(choice: TextChoice): Promise<NamedText> {
  if (choice instanceof File) {
    return { name: choice.name, text: decodeText(choice.name, await choice.slice(0, MOST_BYTES).arrayBuffer()) };
  }
  const { name, url } = choice;
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`${name} cannot be fetched (${response.status}); try again, or drop a file of yours.`);
  }
  return { name, text: await response.text() };
}

function decodeText(name: string, bytes: ArrayBuffer): string {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true }); // the end may be cut off
    if (!text.includes('\0')) {
      if (text.trim() === '') throw new Error(`${name} is empty; choose a file with text in it.`);
      return text;
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  throw new Error(
    `${name} is no text file: it holds bytes that are no UTF-8. Choose a .txt file, or save it as UTF-8 text.`,
  );
}

export interface TextData {
  readonly tokenizer: Tokenizer;
  readonly train: TextPart;
  /** Null where the text is too short for one. */
  readonly heldOut: TextPart | null;
}

/** @param known  a tokenizer to read it with; default: one of the kind asked for, made of the text */
export async function tokenize({ text }: NamedText, kind: TokenizerKind, known?: Tokenizer): Promise<TextData> {
  const tokenizer = known ?? (await makeTokenizer(text, kind));
  const at = cutAt(text);
  const heldOut = textPart([text.slice(at)], tokenizer, 'held-out');
  const train = textPart([text.slice(0, at)], tokenizer, 'training');
  return { tokenizer, train, heldOut: at < text.length && heldOut.tokens.length > 2 ? heldOut : null };
}

async function makeTokenizer(text: string, kind: TokenizerKind): Promise<Tokenizer> {
  if (kind === 'bytes') return new ByteTokenizer();
  if (kind === 'chars') return charTokenizer(text, { endOfText: true });
  return trainBpe(text.slice(0, BPE_CHARACTERS).toWellFormed(), { vocabSize: BPE_TOKENS });
}

/** Where the held-out end begins: behind a line, else behind a word, else between two characters. */
function cutAt(text: string): number {
  const wanted = Math.floor(text.length * (1 - HELD_OUT));
  for (const end of ['\n', ' ']) {
    const at = text.indexOf(end, wanted);
    if (at !== -1 && at < wanted + CUT_REACH && at + 1 < text.length) return at + 1;
  }
  const isLow = (text.charCodeAt(wanted) & 0xfc00) === 0xdc00; // the second half of a surrogate pair
  return isLow ? wanted + 1 : wanted;
}

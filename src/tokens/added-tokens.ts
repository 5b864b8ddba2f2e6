/**
 * @file Added tokens: the texts that a tokenizer.json takes out as whole tokens before (or after) normalisation.
 * Rules as in the Hugging Face `tokenizers` library: the leftmost match wins, then the longest; `lstrip` and `rstrip`
 * swallow the white space beside the token, `single_word` refuses a match inside a word.
 */
import type { AddedTokenJson } from './tokenizer-json.js';

interface Matcher {
  readonly pattern: RegExp;
  readonly tokens: ReadonlyMap<string, AddedTokenJson>;
}

/** `start` is where the stretch begins in the text; with a normaliser that changes lengths it is only about there. */
type OnText = (text: string, start: number) => void;
type OnToken = (id: number) => void;

const SPACE = /^\p{White_Space}$/u;
const WORD_BEFORE = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const WORD_AFTER = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

export class AddedTokens {
  readonly #raw: Matcher | null;
  readonly #normalized: Matcher | null;
  readonly #rawWithoutSpecial: Matcher | null;
  readonly #normalizedWithoutSpecial: Matcher | null;
  readonly #normalize: (text: string) => string;

  constructor(tokens: readonly AddedTokenJson[], normalize: (text: string) => string) {
    this.#normalize = normalize;
    const raw = tokens.filter((token) => !token.normalized);
    const normalized = tokens.filter((token) => token.normalized);
    const plain = (token: AddedTokenJson): boolean => !token.special;
    this.#raw = matcher(raw, (content) => content);
    this.#normalized = matcher(normalized, normalize);
    this.#rawWithoutSpecial = matcher(raw.filter(plain), (content) => content);
    this.#normalizedWithoutSpecial = matcher(normalized.filter(plain), normalize);
  }

  /** Walks over the text: `onToken` for each added token, `onText` for each normalised stretch between them. */
  split(text: string, parseSpecial: boolean, onText: OnText, onToken: OnToken): void {
    const [first, second] = parseSpecial
      ? [this.#raw, this.#normalized]
      : [this.#rawWithoutSpecial, this.#normalizedWithoutSpecial];
    cut(
      text,
      first,
      (stretch, start) => {
        cut(this.#normalize(stretch), second, (piece, within) => onText(piece, start + within), onToken);
      },
      onToken,
    );
  }
}

function matcher(tokens: readonly AddedTokenJson[], spell: (content: string) => string): Matcher | null {
  const bySpelling = new Map(
    tokens.map((token) => [spell(token.content), token]).filter(([text]) => text !== '') as [string, AddedTokenJson][],
  );
  if (bySpelling.size === 0) return null;
  // Alternatives are tried in order, so the longest comes first.
  const spellings = [...bySpelling.keys()].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(spellings.map((s) => s.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')).join('|'), 'g');
  return { pattern, tokens: bySpelling };
}

function cut(text: string, matching: Matcher | null, onText: OnText, onToken: OnToken): void {
  let done = 0;
  if (matching !== null) {
    for (const match of text.matchAll(matching.pattern)) {
      const token = matching.tokens.get(match[0])!;
      let start = match.index;
      let end = start + match[0].length;
      if (start < done) continue;
      if (token.single_word && insideWord(text, start, end)) continue;
      // White space is one UTF-16 unit each.
      while (token.lstrip && start > done && SPACE.test(text[start - 1]!)) start--;
      while (token.rstrip && end < text.length && SPACE.test(text[end]!)) end++;
      if (start > done) onText(text.slice(done, start), done);
      onToken(token.id);
      done = end;
    }
  }
  if (done < text.length) onText(done === 0 ? text : text.slice(done), done);
}

/** Whether a word character touches text[start, end); a character takes at most two units. */
function insideWord(text: string, start: number, end: number): boolean {
  return WORD_BEFORE.test(text.slice(Math.max(start - 2, 0), start)) || WORD_AFTER.test(text.slice(end, end + 2));
}

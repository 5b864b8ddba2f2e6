/**
 * @file Each formal language against its rule, computed in another way than the strings are made: expressions by an
 * evaluator of their text, stacks by replaying them, strings by sorting and searching.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTask, taskNames } from '../../../src/data/tasks/registry.js';
import { randomKey } from '../../../src/tensor/random.js';

/** A string as people read it: what is shown, `_` for blank, and what is asked for at each step, `.` for nothing. */
interface Read {
  readonly shown: string[];
  readonly asked: string[];
  /** Symbols with their answers: those that are shown, and the answers. */
  readonly answers: string[];
}

function read(name: string, length: number, seed: number, options = {}): Read {
  const task = createTask(name, { minLength: length, maxLength: length, testLengths: [], ...options });
  const [shown, asked] = task
    .draw(task.train(randomKey(seed)).example(7))
    .split('\n')
    .map((line) => line.split(' ')) as [string[], string[]];
  expect(asked).toHaveLength(shown.length);
  return { shown, asked, answers: asked.filter((symbol) => symbol !== '.') };
}

/** Holds for strings of every length and many seeds. */
const holds = (name: string, lengthOf: (wanted: number) => number, rule: (string: Read) => void, options = {}): void =>
  fc.assert(
    fc.property(fc.integer({ min: 3, max: 90 }), fc.nat(), (wanted, seed) => {
      const string = read(name, wanted, seed, options);
      // Inputs are one less than the string with its answer.
      expect(string.shown).toHaveLength(lengthOf(wanted) - 1);
      rule(string);
    }),
    { numRuns: 150 },
  );

const same = (wanted: number): number => wanted;
const odd = (wanted: number): number => wanted - 1 + (wanted % 2);

/** One answer, asked for at the last symbol. */
function single({ asked }: Read): string {
  expect(asked.slice(0, -1).every((symbol) => symbol === '.')).toBe(true);
  expect(asked.at(-1)).not.toBe('.');
  return asked.at(-1)!;
}

/** What comes before a mark, and the answer after it: the mark is the last symbol shown, then blanks. */
function afterMark({ shown, asked, answers }: Read, mark = '[ACT]'): [string: string[], answer: string[]] {
  const at = shown.indexOf(mark);
  expect(at).toBeGreaterThan(0);
  expect(shown.slice(at + 1).every((symbol) => symbol === '_')).toBe(true);
  expect(asked.slice(0, at).every((symbol) => symbol === '.')).toBe(true);
  expect(answers).toHaveLength(shown.length - at);
  return [shown.slice(0, at), answers];
}

/** The value modulo 5 of an expression by recursive descent: sums of products of factors. */
function valueOf(text: string): number {
  let at = 0;
  const modulo = (value: number): number => ((value % 5) + 5) % 5;
  const factor = (): number => {
    if (text[at] === '-') {
      at++;
      return modulo(-factor());
    }
    if (text[at] !== '(') return Number(text[at++]);
    at++;
    const value = sum();
    expect(text[at++]).toBe(')');
    return value;
  };
  const product = (): number => {
    let value = factor();
    while (text[at] === '*') {
      at++;
      value = modulo(value * factor());
    }
    return value;
  };
  const sum = (): number => {
    let value = product();
    while (text[at] === '+' || text[at] === '-')
      value = modulo(text[at++] === '+' ? value + product() : value - product());
    return value;
  };
  const value = sum();
  expect(at).toBe(text.length);
  return value;
}

describe('regular', () => {
  it('parity: an odd number of b', () =>
    holds('parity', same, (string) => {
      const count = string.shown.join('').replaceAll('a', '').length;
      expect(single(string)).toBe(count % 2 === 0 ? 'a' : 'b');
    }));

  it('even pairs: ab and ba together are even in number', () =>
    holds('evenPairs', same, (string) => {
      const pairs = string.shown.slice(1).filter((symbol, k) => symbol !== string.shown[k]).length;
      expect(single(string)).toBe(pairs % 2 === 0 ? 'a' : 'b');
    }));

  it('cycle navigation: a walk on a ring', () =>
    holds('cycleNavigation', same, (string) => {
      const ring = ['P0', 'P1', 'P2', 'P3', 'P4'];
      for (const move of string.shown) {
        if (move === '+1') ring.push(ring.shift()!);
        else if (move === '-1') ring.unshift(ring.pop()!);
        else expect(move).toBe('STAY');
      }
      expect(single(string)).toBe(ring[0]);
    }));

  it('modular arithmetic: products before sums', () =>
    holds('modularArithmetic', odd, (string) => {
      const text = string.shown.join('');
      expect(text).toMatch(/^[0-4]([-+*][0-4])*=$/);
      expect(single(string)).toBe(`${valueOf(text.slice(0, -1))}`);
    }));
});

describe('deterministic context-free', () => {
  it.each([true, false])('modular arithmetic with brackets, multiplication %s', (multiplication) => {
    let products = 0;
    holds(
      'modularArithmeticBrackets',
      same,
      (string) => {
        const text = string.shown.join('');
        expect(single(string)).toBe(`${valueOf(text.slice(0, -1))}`);
        products += text.includes('*') ? 1 : 0;
      },
      { multiplication },
    );
    expect(products > 0).toBe(multiplication);
  });

  it('solve equation: the answer is the only digit with which it holds', () =>
    holds(
      'solveEquation',
      (wanted) => Math.max(wanted, 5),
      (string) => {
        const [left, result, ...rest] = string.shown.join('').split('=') as [string, string];
        expect(rest).toEqual([]);
        expect(left.split('x')).toHaveLength(2);
        expect(result).toMatch(/^[0-4]\[ACT\]$/);
        const solutions = ['0', '1', '2', '3', '4'].filter((x) => `${valueOf(left.replace('x', x))}` === result[0]);
        expect([single(string)]).toEqual(solutions);
      },
    ));

  it('reverse string', () =>
    holds('reverseString', odd, (string) => {
      const [given, answer] = afterMark(string);
      expect(answer.toReversed()).toEqual(given);
    }));

  it('stack manipulation: replayed', () =>
    holds('stackManipulation', odd, (string) => {
      const [given, answer] = afterMark(string);
      const stack: string[] = [];
      given.forEach((symbol, k) => {
        if (symbol.startsWith('ST')) expect(given.slice(0, k).every((before) => before.startsWith('ST'))).toBe(true);
        if (symbol === 'POP') expect(stack.pop()).toBeDefined();
        else stack.push(symbol.replace('PS', 'ST'));
      });
      expect(answer).toEqual(stack);
      expect(stack.length).toBeGreaterThan(0);
    }));
});

describe('context-sensitive and further', () => {
  it('bucket sort', () =>
    holds(
      'bucketSort',
      (wanted) => wanted - (wanted % 2),
      ({ shown, asked, answers }) => {
        const half = answers.length;
        expect(shown).toHaveLength(2 * half - 1);
        expect(shown.slice(half).every((symbol) => symbol === '_')).toBe(true);
        expect(asked.slice(half - 1)).toEqual(shown.slice(0, half).sort((a, b) => a.localeCompare(b)));
      },
    ));

  it('missing duplicate: the string with the answer is a string twice', () =>
    holds('missingDuplicate', odd, (string) => {
      const whole = string.shown.join(' ').replace('[MIS]', single(string)).split(' ');
      const half = whole.length / 2;
      expect(whole.slice(0, half)).toEqual(whole.slice(half));
      expect(string.shown.indexOf('[MIS]')).toBeGreaterThanOrEqual(half);
    }));

  it('odds first: read back alternately, the answer is the string', () =>
    holds('oddsFirst', odd, (string) => {
      const [given, answer] = afterMark(string);
      const half = Math.ceil(given.length / 2);
      const [odds, evens] = [answer.slice(0, half), answer.slice(half)];
      expect(given.map((_, k) => (k % 2 === 0 ? odds : evens)[Math.floor(k / 2)])).toEqual(given);
    }));

  it('repetition', () =>
    holds('repetition', odd, (string) => {
      const [given, answer] = afterMark(string);
      expect(answer).toEqual(given);
    }));

  it('set: each symbol once, ordered by where it first came, at most one short of the length', () => {
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 256 }), fc.nat(), (wanted, seed) => {
        const string = read('set', wanted, seed);
        expect([wanted - 1, wanted - 2]).toContain(string.shown.length);
        const [given, answer] = afterMark(string);
        expect([...new Set(answer)]).toEqual(answer);
        expect(answer.toSorted()).toEqual([...new Set(given)].toSorted());
        const places = answer.map((symbol) => given.indexOf(symbol));
        expect(places).toEqual(places.toSorted((a, b) => a - b));
      }),
      { numRuns: 100 },
    );
  });

  it('majority: every other symbol comes less often', () =>
    holds('majority', same, (string) => {
      const count = (symbol: string): number => string.shown.filter((other) => other === symbol).length;
      const answer = single(string);
      for (const symbol of new Set(string.shown))
        if (symbol !== answer) expect(count(symbol)).toBeLessThan(count(answer));
      expect(count(answer)).toBeGreaterThan(0);
    }));

  it('majority count: of the sorted string, the longest run', () =>
    holds('majorityCount', same, (string) => {
      const sorted = string.shown.toSorted().join(' ');
      const runs = [...`${sorted} `.matchAll(/(\S+ )\1*/g)].map(([run, one]) => run.length / one!.length);
      expect(single(string)).toBe(`${Math.max(...runs)}`);
    }));
});

/** Vocabulary and guessing by the table of appendix B.1.1. */
const TABLE: Readonly<Record<string, readonly [vocabSize: number, classes: number]>> = {
  bucketSort: [11, 10],
  missingDuplicate: [11, 9],
  modularArithmeticBrackets: [12, 5],
  solveEquation: [14, 5],
  cycleNavigation: [9, 5],
  evenPairs: [3, 2],
  modularArithmetic: [10, 5],
  parity: [3, 2],
  majority: [64, 63],
  majorityCount: [64, 63],
  oddsFirst: [12, 10],
  reverseString: [12, 10],
  stackManipulation: [11, 4],
  repetition: [12, 10],
  set: [128, 126],
};

describe.each(Object.entries(TABLE))('%s', (name, [vocabSize, classes]) => {
  const task = createTask(name);

  it('has the vocabulary and the chance of the paper', () => {
    expect(taskNames()).toContain(name);
    expect(task.input).toEqual({ kind: 'tokens', vocabSize });
    expect(task.output).toEqual({ kind: 'tokens', vocabSize });
    expect(task.chance).toBeCloseTo(1 / classes, 12);
    expect(task.maxLength).toBe(256);
  });

  it('tests lengths 40 to 256, and those in three ranges', () => {
    const lengths = task.tests(randomKey(3)).map((set) => {
      const T = Array.from({ length: 100 }, (_, n) => set.example(n).T + 1);
      return [set.name, Math.min(...T), Math.max(...T)] as const;
    });
    // A language without strings of a length takes the next shorter ones.
    const ranges = [
      ['test 40-256', 40, 256],
      ['test 41-64', 41, 64],
      ['test 65-128', 65, 128],
      ['test 129-256', 129, 256],
    ] as const;
    expect(lengths.map(([set]) => set)).toEqual(ranges.map(([set]) => set));
    lengths.forEach(([, shortest, longest], k) => {
      const [, from, to] = ranges[k]!;
      expect(shortest).toBeGreaterThanOrEqual(from - 1);
      expect(longest).toBeLessThanOrEqual(to);
      expect(longest - shortest).toBeGreaterThan((to - from) / 2);
    });
  });

  it.skipIf(name === 'majorityCount' || name === 'bucketSort')('has answers that are equally frequent', () => {
    const set = task.train(randomKey(11));
    const counts = new Map<number, number>();
    for (let n = 0; n < 3000; n++) {
      // One answer of each string, since those of one string need not be independent.
      const target = set.example(n).targets!.findLast((symbol) => symbol !== -1)!;
      counts.set(target, (counts.get(target) ?? 0) + 1);
    }
    expect(counts.size).toBe(classes);
    let left = 3000;
    if (name.startsWith('modularArithmetic')) {
      // Products are 0 more often than not, which the chance of the paper leaves out.
      const zeros = counts.get(vocabSize - classes)!;
      expect(zeros / 3000).toBeGreaterThan(0.2);
      expect(zeros / 3000).toBeLessThan(0.3);
      counts.delete(vocabSize - classes);
      left -= zeros;
    }
    const expected = left / counts.size;
    const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    expect(chiSquare).toBeLessThan(counts.size - 1 + 5 * Math.sqrt(2 * (counts.size - 1)));
  });
});

describe('as people read them', () => {
  it('a string of each language', () => {
    const drawn = Object.keys(TABLE).map((name) => {
      const { shown, answers } = read(name, 12, 1);
      return `${name}: ${shown.filter((symbol) => symbol !== '_').join(' ')} -> ${answers.join(' ')}`;
    });
    expect(drawn).toMatchInlineSnapshot(`
      [
        "bucketSort: 6 1 4 8 4 4 -> 1 4 4 4 6 8",
        "missingDuplicate: 5 1 4 7 3 5 1 [MIS] 7 3 -> 4",
        "modularArithmeticBrackets: ( ( - 0 ) - ( 4 ) ) = -> 1",
        "solveEquation: ( ( 0 ) + - x ) = 1 [ACT] -> 4",
        "cycleNavigation: +1 STAY +1 -1 +1 +1 STAY +1 +1 +1 -1 -> P0",
        "evenPairs: b a a b a a a b b b b -> a",
        "modularArithmetic: 3 - 0 + 2 - 4 - 2 = -> 4",
        "parity: b a a b a a a b b b b -> a",
        "majority: 39 10 29 52 28 31 11 52 38 39 52 -> 52",
        "majorityCount: 39 10 29 52 28 31 11 42 38 39 52 -> 2",
        "oddsFirst: 6 1 4 8 4 [ACT] -> 6 4 4 1 8",
        "reverseString: 6 1 4 8 4 [ACT] -> 4 8 4 1 6",
        "stackManipulation: ST2 ST4 ST2 ST2 PS3 [ACT] -> ST2 ST4 ST2 ST2 ST3",
        "repetition: 6 1 4 8 4 [ACT] -> 6 1 4 8 4",
        "set: 78 21 59 104 57 [ACT] -> 78 21 59 104 57",
      ]
    `);
  });
});

/** @file Whether SVG or HTML is well-formed, and whether it asks for anything from outside. No parser of browsers. */

const VOID = new Set(['meta', 'br', 'hr', 'img', 'link', 'input', 'col', '!doctype']);
const ATTRIBUTES = /^(?:\s+[\w:-]+(?:="[^"<]*")?)*\s*\/?$/;

/** The first thing that is wrong, or null: tags that do not close in order, attributes without quotes, a bare & or <. */
export function checkMarkup(markup: string): string | null {
  const open: string[] = [];
  const body = markup
    .replace(/^<\?xml [^>]*\?>\s*/, '')
    .replace(/<style[^>]*>[^]*?<\/style>/g, '')
    .replace(/<!--[^]*?-->/g, '');
  let at = 0;
  for (const match of body.matchAll(/<(\/?)([!\w:-]+)((?:[^"<>]|"[^"]*")*)>/g)) {
    const [tag, slash, name, attributes] = [match[0], match[1]!, match[2]!.toLowerCase(), match[3]!];
    const fault = textFault(body.slice(at, match.index));
    if (fault !== null) return fault;
    at = match.index + tag.length;
    if (name === '!doctype') continue;
    if (!ATTRIBUTES.test(attributes)) return `attributes of ${tag}`;
    for (const [, value] of attributes.matchAll(/="([^"]*)"/g)) {
      const inside = textFault(value!);
      if (inside !== null) return inside;
    }
    if (slash === '/') {
      if (open.pop() !== name) return `${tag} closes what is not open`;
    } else if (!attributes.endsWith('/') && !VOID.has(name)) open.push(name);
  }
  const rest = textFault(body.slice(at));
  if (rest !== null) return rest;
  return open.length === 0 ? null : `<${open.at(-1)}> is not closed`;
}

function textFault(text: string): string | null {
  const found = /<|&(?!(?:amp|lt|gt|quot|#39|#x?[0-9a-f]+);).{0,10}/i.exec(text);
  return found === null
    ? null
    : `a bare ${found[0]} in "${text.slice(Math.max(0, found.index - 30), found.index + 30)}"`;
}

/** Addresses that a program would fetch or that lead away; the names of XML name spaces are none. */
export function externalAddresses(markup: string): string[] {
  const without = markup.replace(/ xmlns(?::\w+)?="[^"]*"/g, '');
  const patterns = [
    /\b(?:https?|ftp|file|data):[^\s"'<>)]*/g,
    /@import[^;]*/g,
    /url\((?!#)[^)]*\)/g,
    /(?:href|src)="\/\/[^"]*"/g,
  ];
  return patterns.flatMap((pattern) => [...without.matchAll(pattern)].map(([address]) => address));
}

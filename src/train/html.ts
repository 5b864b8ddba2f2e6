/** @file HTML from templates in which every value is escaped unless it is HTML already. It knows no particular page. */
import { printable } from '../format.js';

/** Markup that is safe to insert as it is; only `html` and `trustedHtml` make it. */
export class Html {
  readonly markup: string;

  constructor(markup: string) {
    this.markup = markup;
  }
}

type HtmlValue = Html | readonly Html[] | string | number;

/** html`<p>${anything}</p>`: strings and numbers are escaped, Html (or a list of it) is inserted as it is. */
export function html(parts: TemplateStringsArray, ...values: HtmlValue[]): Html {
  let markup = parts[0]!;
  values.forEach((value, i) => {
    markup +=
      (value instanceof Html ? value.markup : Array.isArray(value) ? joined(value) : escapeHtml(String(value))) +
      parts[i + 1]!;
  });
  return new Html(markup);
}

/** Markup made by this library itself, such as a chart. Never give it text from outside. */
export function trustedHtml(markup: string): Html {
  return new Html(markup);
}

function joined(list: readonly Html[]): string {
  return list.map(({ markup }) => markup).join('');
}

/**
 * A whole page that loads nothing and runs nothing from anywhere.
 * @param style  made by this library itself
 */
export const htmlPage = (title: string, style: string, main: Html): Html =>
  html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'" />
        <title>${title}</title>
        <style>
          ${trustedHtml(style)}
        </style>
      </head>
      <body>
        <main>
          <h1>${title}</h1>
          ${main}
        </main>
      </body>
    </html> `;

/** Text for an element or a quoted attribute; control characters become visible. */
export function escapeHtml(text: string): string {
  return printable(text)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

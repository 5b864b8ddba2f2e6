/**
 * @file What Node is told about files of users with mixers in them: TypeScript is read with its types taken off, and
 * "xlstm" and "zod" mean the modules of the running program, wherever the file lies. It loads nothing itself.
 *
 * Node 20 runs this module on a thread of its own; later versions run it beside the program.
 */
import { existsSync, readFileSync } from 'node:fs';
import {
  createRequire,
  type LoadFnOutput,
  type LoadHookContext,
  type ResolveFnOutput,
  type ResolveHookContext,
} from 'node:module';
import { fileURLToPath } from 'node:url';

/** Where the modules of the running program are. */
export interface HookData {
  readonly xlstm: string;
  readonly zod: string;
}

let data: HookData | null = null;

export function initialize(given: HookData): void {
  data = given;
}

const isOfPackage = (url: string | undefined): boolean => url === undefined || url.includes('/node_modules/');

/** Either kind of hook: what `next` returns is passed on as it is, a promise or not. */
export function resolve<Result extends ResolveFnOutput | Promise<ResolveFnOutput>>(
  specifier: string,
  context: ResolveHookContext,
  next: (specifier: string, context?: Partial<ResolveHookContext>) => Result,
): Result {
  if (specifier === 'xlstm') return next(data!.xlstm, context);
  if (specifier === 'zod' && !isOfPackage(context.parentURL)) return next(data!.zod, context);
  return next(typescriptFile(specifier, context.parentURL) ?? specifier, context);
}

/** TypeScript files import each other as .js: that means the .ts file where there is no other. */
function typescriptFile(specifier: string, parent: string | undefined): string | null {
  if (!/^\.{1,2}\/.*\.m?js$/.test(specifier) || isOfPackage(parent) || !/\.m?ts$/.test(parent!)) return null;
  const script = new URL(specifier, parent);
  const source = new URL(script.href.replace(/js$/, 'ts'));
  return !existsSync(script) && existsSync(source) ? source.href : null;
}

export function load<Result extends LoadFnOutput | Promise<LoadFnOutput>>(
  url: string,
  context: LoadHookContext,
  next: (url: string, context?: Partial<LoadHookContext>) => Result,
): Result | LoadFnOutput {
  if (!/^file:.*\.m?ts$/.test(url) || isOfPackage(url)) return next(url, context);
  return { format: 'module', shortCircuit: true, source: withoutTypes(fileURLToPath(url)) };
}

/** The program of a TypeScript file, with a source map. @throws Error naming the file and the place of a wrong syntax. */
export function withoutTypes(file: string): string {
  // Loaded only here: it is large, and most programs need none of it.
  const { transformSync } = createRequire(import.meta.url)(
    '@swc/wasm-typescript',
  ) as typeof import('@swc/wasm-typescript');
  let result;
  try {
    result = transformSync(readFileSync(file, 'utf8'), { mode: 'transform', sourceMap: true, filename: file });
  } catch (error) {
    const { message, startLine } = error as { message?: string; startLine?: number };
    const place = startLine === undefined ? file : `${file}:${startLine}`;
    throw new SyntaxError(`${place}: ${message ?? String(error)}`, { cause: error });
  }
  const map = JSON.stringify({ ...(JSON.parse(result.map!) as object), sources: [file] });
  return `${result.code}\n//# sourceMappingURL=data:application/json;base64,${Buffer.from(map).toString('base64')}\n`;
}

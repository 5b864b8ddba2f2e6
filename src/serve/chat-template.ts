/** @file The chat template of a model folder: messages as one text, by the template that the model was trained with. */
import fs from 'node:fs';
import path from 'node:path';
import { Template } from '@huggingface/jinja';
import { ApiError } from './errors.js';
import type { ChatMessage } from './protocol.js';

export interface ChatTemplate {
  /** The messages as text; with `generate` up to where the assistant speaks. @throws ApiError when the template refuses. */
  render(messages: readonly ChatMessage[], generate: boolean): string;
}

/**
 * The template of chat_template.jinja or of tokenizer_config.json.
 * @returns null where the folder has none
 * @throws Error when it cannot be parsed.
 */
export function readChatTemplate(folder: string): ChatTemplate | null {
  const config = readConfig(path.join(folder, 'tokenizer_config.json'));
  const file = path.join(folder, 'chat_template.jinja');
  const source = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : templateOf(config['chat_template']);
  if (source === null) return null;
  let template: Template;
  try {
    template = new Template(source);
  } catch (cause) {
    throw new Error(`${folder}: its chat template cannot be read (${(cause as Error).message})`, { cause });
  }
  const special = Object.fromEntries(
    ['bos_token', 'eos_token', 'pad_token', 'unk_token'].map((name) => [name, tokenText(config[name])]),
  );
  return {
    render(messages, generate) {
      try {
        return template.render({ ...special, messages, add_generation_prompt: generate });
      } catch (error) {
        throw new ApiError(400, `messages: the chat template refuses them: ${(error as Error).message}`, 'messages');
      }
    },
  };
}

function readConfig(file: string): Record<string, unknown> {
  if (!fs.existsSync(file)) return {};
  const value: unknown = JSON.parse(fs.readFileSync(file, 'utf8'));
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** A template, or the one called "default" of several. */
function templateOf(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return null;
  const named = value as { name?: unknown; template?: unknown }[];
  const chosen = named.find(({ name }) => name === 'default') ?? named[0];
  return typeof chosen?.template === 'string' ? chosen.template : null;
}

/** Special tokens stand as text, or as an object with the text in it. */
const tokenText = (value: unknown): string =>
  typeof value === 'string' ? value : String((value as { content?: unknown } | null | undefined)?.content ?? '');

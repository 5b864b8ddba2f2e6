/** @file The numbers of a training, each with its label. */
import type { TokenizerKind, TrainSettings } from '../../protocol.js';
import { NumberField, SelectField } from '../parts/fields.js';
import { BATCHES, CONTEXTS, WIDTHS } from './settings.js';

const TOKENIZERS: readonly (readonly [value: TokenizerKind, label: string])[] = [
  ['bytes', 'bytes'],
  ['chars', 'characters'],
  ['bpe', 'BPE of 1,024'],
];

interface Props {
  readonly settings: TrainSettings;
  onChange(changes: Partial<TrainSettings>): void;
}

export function Numbers({ settings, onChange }: Props) {
  const numbers = (values: readonly number[]) => values.map((value) => [String(value), String(value)] as const);
  const select = (
    label: string,
    field: 'dim' | 'contextLength' | 'batchSize',
    values: readonly number[],
    hint: string,
  ) => (
    <SelectField
      label={label}
      hint={hint}
      value={String(settings[field])}
      choices={numbers(values)}
      onChange={(value) => onChange({ [field]: Number(value) })}
    />
  );
  const number = (label: string, field: 'learningRate' | 'steps' | 'seed', hint: string) => (
    <NumberField label={label} hint={hint} value={settings[field]} onChange={(value) => onChange({ [field]: value })} />
  );
  return (
    <fieldset>
      <legend>Numbers</legend>
      <div class="fields">
        {select('Width', 'dim', WIDTHS, 'Width of the residual stream')}
        <SelectField
          label="Tokens"
          hint="How text is cut: bytes suit any text, BPE learns frequent pieces of words"
          value={settings.tokenizer}
          choices={TOKENIZERS}
          onChange={(tokenizer) => onChange({ tokenizer: tokenizer as TokenizerKind })}
        />
        {select('Context', 'contextLength', CONTEXTS, 'Tokens per sequence')}
        {select('Batch', 'batchSize', BATCHES, 'Sequences per step')}
      </div>
      <div class="fields three">
        {number('Learning rate', 'learningRate', 'The highest; it rises first and falls at the end')}
        {number('Steps', 'steps', 'Updates of the model in all')}
        {number('Seed', 'seed', 'Same seed, same device: same result')}
      </div>
    </fieldset>
  );
}

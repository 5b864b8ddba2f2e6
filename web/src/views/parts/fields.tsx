/** @file Form fields with their labels: numbers, choices. A number that is being typed may be none for a while. */
import { useEffect, useId, useState } from 'preact/hooks';

interface NumberProps {
  readonly label: string;
  readonly hint?: string;
  readonly value: number;
  /** Told NaN for what is no number. */
  onChange(value: number): void;
}

export function NumberField({ label, hint, value, onChange }: NumberProps) {
  const id = useId();
  const [typed, setTyped] = useState(String(value));
  useEffect(() => {
    if (Number(typed) !== value && !Number.isNaN(value)) setTyped(String(value));
  }, [value]);
  return (
    <div class="field" title={hint}>
      <label for={id}>{label}</label>
      <input
        id={id}
        inputMode="decimal"
        autoComplete="off"
        value={typed}
        aria-invalid={Number.isNaN(value)}
        onInput={({ currentTarget: { value: text } }) => {
          setTyped(text);
          onChange(text.trim() === '' ? NaN : Number(text.replace(',', '.')));
        }}
      />
    </div>
  );
}

interface SelectProps {
  readonly label: string;
  readonly hint?: string;
  readonly value: string;
  readonly choices: readonly (readonly [value: string, label: string])[];
  onChange(value: string): void;
}

export function SelectField({ label, hint, value, choices, onChange }: SelectProps) {
  const id = useId();
  return (
    <div class="field" title={hint}>
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
        {choices.map(([choice, text]) => (
          <option key={choice} value={choice} selected={choice === value}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}

/**
 * @file Numbers written for people: counts, bytes, durations. Anyone may import it; it imports nothing.
 * It is not for files that programs read.
 */

const COUNT_UNITS = ['', 'k', 'M', 'B', 'T'] as const;
const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** Steps of 1000 with one digit after the point; a value that would round to 1000.0 takes the next unit. */
function scale(value: number, units: readonly string[], space: string): string {
  if (!Number.isFinite(value)) return String(value);
  let magnitude = Math.abs(value);
  let unit = 0;
  const limit = () => (unit === 0 ? 999.5 : 999.95);
  while (magnitude >= limit() && unit < units.length - 1) {
    magnitude /= 1000;
    unit++;
  }
  const digits = unit === 0 ? String(Math.round(magnitude)) : magnitude.toFixed(1);
  return `${value < 0 && digits !== '0' ? '-' : ''}${digits}${units[unit] === '' ? '' : space}${units[unit]}`;
}

/** A count: 950, 12.3k, 163.7M, 1.3B (10^9). */
export function formatCount(count: number): string {
  return scale(count, COUNT_UNITS, '');
}

/** Bytes in decimal units: 950 B, 12.3 kB, 655.3 MB. */
export function formatBytes(bytes: number): string {
  return scale(bytes, BYTE_UNITS, ' ');
}

/** Seconds as the two largest units that matter: 45s, 3m 05s, 2h 07m, 3d 04h; `?` when they are not known. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '?';
  if (seconds < 9.95) return `${seconds.toFixed(1)}s`;
  const two = (value: number) => String(value).padStart(2, '0');
  const total = Math.round(seconds);
  if (total < 60) return `${total}s`;
  if (total < 3600) return `${Math.floor(total / 60)}m ${two(total % 60)}s`;
  const minutes = Math.round(total / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}h ${two(minutes % 60)}m`;
  const hours = Math.round(total / 3600);
  return `${Math.floor(hours / 24)}d ${two(hours % 24)}h`;
}

/** A loss, a norm, a rate: `digits` significant digits without an exponent where that stays short (0.00031, 3.142, 1.2e-7). */
export function formatNumber(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : value > 0 ? 'inf' : '-inf';
  if (value === 0) return '0';
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  if (exponent < -4 || exponent > 6)
    return value
      .toExponential(Math.max(0, digits - 1))
      .replace(/\.?0+e/, 'e')
      .replace('e+', 'e');
  return value.toFixed(Math.max(0, Math.min(20, digits - 1 - exponent)));
}

/**
 * Text that is safe to show: control characters (a sample may hold an escape sequence) become visible pictures (U+2400
 * and up); newline and tab stay. What reorders the text around it (bidirectional marks) becomes U+FFFD.
 */
export function printable(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replace(/[^\P{Cc}\n\t]|[\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (char) => {
      const code = char.charCodeAt(0);
      return String.fromCharCode(code < 0x20 ? 0x2400 + code : code === 0x7f ? 0x2421 : 0xfffd);
    });
}

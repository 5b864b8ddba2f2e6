/** @file A matrix of numbers as colours on a canvas, around zero, with one column that is marked. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { divergingPalette, paletteIndex, useDark } from './colours.js';
import { later } from './later.js';
import { largest, short } from './numbers.js';

export interface HeatMapProps {
  readonly title: string;
  /** A sentence on what rows and columns are, for those who cannot see it. */
  readonly description: string;
  /** [rows,columns] */
  readonly values: ArrayLike<number>;
  readonly rows: number;
  readonly columns: number;
  /** What is the darkest colour. Default: the largest value. */
  readonly top?: number;
  /** Height in pixels, or all there is; default: square cells. */
  readonly height?: number | 'full';
  /** Leave the scale out, where there is no room. */
  readonly isBare?: boolean;
  readonly marked?: number | null;
  /** Says what a cell is: "key 3, value 5". */
  readonly name: (row: number, column: number) => string;
  readonly onPoint?: (column: number | null, row: number | null) => void;
  readonly onPick?: (column: number, row: number) => void;
}

interface Cell {
  readonly row: number;
  readonly column: number;
}

export function HeatMap(props: HeatMapProps) {
  const { title, description, values, rows, columns, isBare = false, marked = null, name } = props;
  const most = useMemo(() => props.top ?? largest(values), [values, props.top]);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [cell, setCell] = useState<Cell | null>(null);
  const isSigned = useMemo(() => Array.prototype.some.call(values, (value: number) => value < 0), [values]);
  const isDark = useDark();
  useEffect(
    () => later(() => canvas.current !== null && paint(canvas.current, values, rows, columns, most)),
    [values, rows, columns, most, isDark],
  );

  const isNamed = cell !== null && cell.row < rows && cell.column < columns && !isBare;

  const cellAt = (event: MouseEvent): Cell => {
    const { left, top: upper, width, height: tall } = canvas.current!.getBoundingClientRect();
    const place = (share: number, count: number): number => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
    return { row: place((event.clientY - upper) / tall, rows), column: place((event.clientX - left) / width, columns) };
  };
  const point = (found: Cell | null): void => {
    setCell(found);
    props.onPoint?.(found?.column ?? null, found?.row ?? null);
  };
  return (
    <figure class="plot">
      <figcaption>
        <span class="plot-title">{title}</span>
        <span class="plot-legend">
          {isNamed
            ? `${name(cell.row, cell.column)}: ${short(values[cell.row * columns + cell.column]!)}`
            : !isBare && <Scale top={most} isSigned={isSigned} />}
        </span>
      </figcaption>
      <div class="plot-heat" style={sizeOf(props)}>
        <canvas
          ref={canvas}
          role="img"
          aria-label={`${title}. ${description} The largest size of a value is ${short(most)}.`}
          onMouseMove={(event) => point(cellAt(event))}
          onMouseLeave={() => point(null)}
          onClick={(event) => {
            const { row, column } = cellAt(event);
            props.onPick?.(column, row);
          }}
        />
        {marked !== null && <div class="plot-mark" style={{ left: `${(100 * (marked + 0.5)) / columns}%` }} />}
      </div>
    </figure>
  );
}

const sizeOf = ({ height, rows, columns }: HeatMapProps): { height?: string; aspectRatio?: string } =>
  height === undefined
    ? { aspectRatio: `${columns} / ${rows}` }
    : { height: height === 'full' ? '100%' : `${height}px` };

/** From the most negative colour, or from zero, to the most positive one. */
const Scale = ({ top, isSigned }: { readonly top: number; readonly isSigned: boolean }) => (
  <span class={`plot-scale ${isSigned ? '' : 'is-positive'}`}>
    {isSigned ? short(-top) : '0'} <i aria-hidden="true" /> {short(top)}
  </span>
);

/** One pixel per cell; CSS makes them as large as the canvas. */
function paint(canvas: HTMLCanvasElement, values: ArrayLike<number>, rows: number, columns: number, top: number): void {
  [canvas.width, canvas.height] = [columns, rows];
  const palette = divergingPalette();
  const image = new ImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  for (let at = 0; at < pixels.length; at++) pixels[at] = palette[paletteIndex(values[at]! / top)]!;
  canvas.getContext('2d')!.putImageData(image, 0, 0);
}

/** @file A part of a view that is drawn in a turn of its own: one that is large as a whole would keep the page from answering. */
import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { later } from './later.js';

/** Shows its children, and what becomes of them, when their turn comes; nothing before the first one. */
export function InTurn({ children }: { readonly children: ComponentChildren }) {
  const [shown, show] = useState<ComponentChildren>(null);
  useEffect(() => later(() => show(() => children)), [children]);
  return <>{shown}</>;
}

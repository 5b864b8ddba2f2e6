/** @file A whole number for people: 12,000. Without Intl, whose first use takes a page longer than all of its drawing. */

export const grouped = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ',');

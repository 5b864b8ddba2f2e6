/**
 * @file Products in half precision on the WebGPU device: what of it an adapter offers. It is asked for, never taken by
 * itself: operands are rounded to float16, of 11 bits and at most 65,504 (what is larger becomes infinite); sums are float32.
 */

/** Rows and columns of the small matrices that a unit of the GPU multiplies: [M, K] times [K, N]. */
export interface MatrixUnit {
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Half precision on an adapter. */
export interface Halves {
  /** The unit for float16 operands and float32 sums; null where products are made of single numbers. */
  readonly unit: MatrixUnit | null;
}

/** Dawn's subgroup matrices, which WebGPU does not have yet. */
export const SUBGROUP_MATRIX = 'chromium-experimental-subgroup-matrix';

/** The parts of GPUAdapterInfo that Dawn adds with that feature. */
interface MatrixInfo {
  readonly subgroupMinSize?: number;
  readonly subgroupMaxSize?: number;
  readonly subgroupMatrixConfigs?: Iterable<
    MatrixUnit & { readonly componentType: string; readonly resultComponentType: string }
  >;
}

/**
 * The first unit that fits the subgroups of 32 and the tiles of this device.
 * @param fits  whether a unit suits the tiles
 */
export function matrixUnit(info: MatrixInfo, fits: (unit: MatrixUnit) => boolean): MatrixUnit | null {
  if (info.subgroupMinSize !== 32 || info.subgroupMaxSize !== 32) return null;
  for (const { M, N, K, componentType, resultComponentType } of info.subgroupMatrixConfigs ?? []) {
    if (componentType === 'f16' && resultComponentType === 'f32' && fits({ M, N, K })) return { M, N, K };
  }
  return null;
}

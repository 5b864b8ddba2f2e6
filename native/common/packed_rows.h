// Where things lie in a row of stored weights (the layout is in src/device/packing.ts).
#ifndef XL_COMMON_PACKED_ROWS_H
#define XL_COMMON_PACKED_ROWS_H
#include <cstdint>

#include "xl.h"

namespace xl {
namespace {

constexpr int64_t BLOCK = 128;  // weights: of int4 a cache line, of every format a unit of reading
constexpr int64_t LINE = 64;

struct RowLayout {
  int64_t group;   // columns of a scale; of a row of int8 with one scale, all of them
  int64_t scales;  // where they begin, in bytes from the start of the row
  int64_t scale_count;
  int64_t bytes;
};

// Of a format, columns and group that can be.
inline RowLayout layout_of_row(int32_t format, int64_t columns, int64_t group) {
  if (format != XL_INT8 && format != XL_INT4) return {0, 2 * columns, 0, 2 * columns};
  const int64_t per_scale = group > 0 ? group : columns;
  const int64_t codes = format == XL_INT8 ? (columns + 1) / 2 * 2 : (columns + BLOCK - 1) / BLOCK * LINE;
  const int64_t count = per_scale > 0 ? (columns + per_scale - 1) / per_scale : 0;
  return {per_scale, codes, count, (codes + 2 * count + LINE - 1) / LINE * LINE};
}

}  // namespace
}  // namespace xl
#endif

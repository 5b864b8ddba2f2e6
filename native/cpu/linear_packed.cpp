// y = x weight^T + bias with stored weights: few rows of x by dots that read each weight once (packed_dot.h), more by the
// matrix product of the library over weights unpacked into its strips (matmul.cpp).
#include "lanes.h"
#include "matmul.h"
#include "packed_dot.h"
#include "reduce.h"

namespace XL_NS {
namespace {

// Up to so many rows of x it is faster to keep weights in registers than to unpack them.
constexpr int64_t DOT_ROWS_OF_X = 16;
constexpr int64_t TASK_BYTES = 1 << 16;  // of weights

using Tile = void (*)(const Weights &, const uint8_t *, const float *, const float *, float *, int64_t, int64_t);

// Rows of weights at once: several share what is read of x. With few registers small floats have one, which then is read
// front to back, as memory likes best (measured: AVX2 on AMD wants that, AVX-512 on Intel does not).
constexpr int rows_at_once(Kind kind, int x_rows) {
  if (is_int4_dot(kind)) return x_rows > 1 ? 2 : 3;
  if (is_vnni(kind)) return x_rows > 1 || !MANY_REGISTERS ? 2 : 4;
  if (kind <= DOT_F16 && !MANY_REGISTERS) return 1;
  return x_rows > 1 ? 2 : 4;
}

// Rows from one of a tile to the next. Of short rows a tile takes some that are apart, so that each is the next of a
// stream of its own: from page to page the hardware follows one stream each (measured on Xeons: of int8 and int4 mostly
// 5 to 15 points more of the bandwidth than with neighbours). Only where prefetch_tile() asks for what comes.
inline int64_t rows_apart(const Weights &w, Kind kind) {
  const bool asks = is_vnni(kind) || (W == 16 && kind <= DOT_F16);
  return asks ? stream_rows(w.row_bytes) : 1;
}

// A tile for one row of weights or as many as there are at once, and M rows of x.
template <Kind K, int M>
constexpr Tile tile(bool one) {
  constexpr int R = rows_at_once(K, M);
#if defined(__AVX2__)
  if constexpr (is_vnni(K)) return one ? vnni_tile<K, 1, M> : vnni_tile<K, R, M>;
#endif
  return one ? dot_tile<K, 1, M> : dot_tile<K, R, M>;
}

template <Kind K>
Tile tile_of_kind(bool one, int x_rows) {
  static constexpr Tile tiles[2][MOST_X] = {{tile<K, 1>(false), tile<K, 2>(false), tile<K, 3>(false), tile<K, 4>(false)},
                                            {tile<K, 1>(true), tile<K, 2>(true), tile<K, 3>(true), tile<K, 4>(true)}};
  return tiles[one][x_rows - 1];
}

Tile tile_of(Kind kind, bool one, int x_rows) {
  switch (kind) {
    case DOT_BF16:
      return tile_of_kind<DOT_BF16>(one, x_rows);
    case DOT_F16:
      return tile_of_kind<DOT_F16>(one, x_rows);
    case DOT_INT8:
      return tile_of_kind<DOT_INT8>(one, x_rows);
    case DOT_INT4:
      return tile_of_kind<DOT_INT4>(one, x_rows);
    case DOT_INT4_64:
      return tile_of_kind<DOT_INT4_64>(one, x_rows);
    case DOT_INT4_32:
      return tile_of_kind<DOT_INT4_32>(one, x_rows);
#if defined(__AVX2__)
    case VNNI_INT8:
      return tile_of_kind<VNNI_INT8>(one, x_rows);
    case VNNI_INT8_64:
      return tile_of_kind<VNNI_INT8_64>(one, x_rows);
    case VNNI_INT8_32:
      return tile_of_kind<VNNI_INT8_32>(one, x_rows);
    case VNNI_INT4:
      return tile_of_kind<VNNI_INT4>(one, x_rows);
    case VNNI_INT4_64:
      return tile_of_kind<VNNI_INT4_64>(one, x_rows);
    case VNNI_INT4_32:
      return tile_of_kind<VNNI_INT4_32>(one, x_rows);
#endif
    case DOT_INT4_16:
      return tile_of_kind<DOT_INT4_16>(one, x_rows);
    default:
      return tile_of_kind<DOT_INT4_ANY>(one, x_rows);
  }
}

// Rows of x in parts of at most MOST_X that differ by at most one row.
struct Parts {
  int64_t rows, count;
  explicit Parts(int64_t rows) : rows(rows), count(ceil_div(rows, MOST_X)) {}
  int64_t begin(int64_t i) const { return rows * i / count; }
  int size(int64_t i) const { return int(begin(i + 1) - begin(i)); }
};

// One of maps of the same x.
struct Map {
  Weights weights;
  float *y;
  const float *bias;
};

// The rows of maps, one after the other, in pieces of `grain` rows of which the last one of a map may have fewer.
struct RowPieces {
  const Map *maps;
  int64_t grain, count = 0;
  RowPieces(const Map *maps, int64_t number, int64_t grain) : maps(maps), grain(grain) {
    for (int64_t i = 0; i < number; i++) count += ceil_div(maps[i].weights.rows, grain);
  }
  // body(map, begin, end) for the rows of a piece.
  template <class Body>
  void piece(int64_t index, const Body &body) const {
    const Map *map = maps;
    for (int64_t own; index >= (own = ceil_div(map->weights.rows, grain)); map++) index -= own;
    body(*map, index * grain, min_of(index * grain + grain, map->weights.rows));
  }
  xl::Stretch memory(int64_t index) const {
    xl::Stretch found;
    piece(index, [&](const Map &map, int64_t begin, int64_t) {
      const Weights &w = map.weights;
      found = {w.row(begin), (w.rows - begin) * w.row_bytes};
    });
    return found;
  }
};

// Maps of formats, columns and groups that are the same.
int few_rows(const Map *maps, int64_t count, const float *x, int64_t N) {
  const Weights &w = maps[0].weights;
  const Parts parts(N);
  const int64_t floats = prepared_floats(w);
  float *prepared = xl::shared_scratch(N * floats);
  if (!prepared) return out_of_scratch("linear_packed", N * floats);
  parallel_for(parts.count, [&](int64_t part, int) {
    const float *rows[MOST_X];
    for (int m = 0; m < parts.size(part); m++) rows[m] = x + (parts.begin(part) + m) * w.columns;
    prepare(w, prepared + parts.begin(part) * floats, rows, parts.size(part));
  });
  const Kind kind = kind_of(w);
  const int64_t at_once = rows_at_once(kind, N == 1 ? 1 : MOST_X);
  const auto take = [&](const Map &map, int64_t row, bool one, int64_t apart, int64_t rows_left) {
    Weights tile = map.weights;
    tile.row_bytes = w.row_bytes * apart;
    tile.stream_left = w.row_bytes * rows_left;
    for (int64_t part = 0; part < parts.count; part++) {
      const int64_t n = parts.begin(part);
      tile_of(kind, one, parts.size(part))(tile, map.weights.row(row), prepared + n * floats,
                                           map.bias ? map.bias + row : nullptr, map.y + n * tile.rows + row, tile.rows,
                                           apart);
    }
  };
  const int64_t apart = rows_apart(w, kind), block = apart * at_once;
  const RowPieces pieces(maps, count, ceil_div(max_of(TASK_BYTES / w.row_bytes, 1), block) * block);
  const auto take_piece = [&](const Map &map, int64_t row, int64_t end) {
    row = for_streams(row, end, at_once, apart, [&](int64_t at, int64_t between, int64_t left) {
      take(map, at, false, between, left);
    });
    for (; row < end; row++) take(map, row, true, 1, 1);
  };
  parallel_stream(
      pieces.count, 1, [&](int64_t index, int64_t, int) { pieces.piece(index, take_piece); },
      [&](int64_t index) { return pieces.memory(index); });
  return XL_OK;
}

void unpack_for_product(const void *weights, float *to, int64_t row, int64_t block) {
  const Weights &w = *static_cast<const Weights *>(weights);
  unpack_block(w, w.row(row), block * BLOCK, to);
  // The next block of this row, which no hardware guesses: other rows come between.
  const int64_t bytes = w.format == XL_INT4 ? LINE : w.format == XL_INT8 ? BLOCK : 2 * BLOCK;
  for (int64_t line = 0; line < bytes; line += LINE) __builtin_prefetch(w.row(row) + (block + 1) * bytes + line, 0, 3);
}

int many_rows(const Map &map, const float *x, int64_t N) {
  const Weights &w = map.weights;
  const BlocksOfB blocks = {unpack_for_product, &w};
  return matmul({map.y, x, nullptr, map.bias, N, w.rows, w.columns, false, true, w.columns, w.columns, w.rows, false,
                 XL_ACT_NONE, &blocks});
}

}  // namespace
}  // namespace XL_NS

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_linear_packed_side_by_side)(const xl::PackedCall *calls, int64_t count) {
  Map maps[xl::most_side_by_side];
  int64_t used = 0;
  const int64_t N = calls[0].N;
  for (int64_t i = 0; i < count; i++) {
    const xl::PackedCall &call = calls[i];
    Map &map = maps[used];
    map.y = call.y;
    map.bias = call.bias;
    if (int status = describe_weights(map.weights, "linear_packed", call.weight, call.O, call.I, call.format, call.group))
      return status;
    if (N < 0) return xl::fail(XL_INVALID, "linear_packed: N must not be negative, got %lld", (long long)N);
    if (call.O > 0) used++;
  }
  if (N == 0 || used == 0) return XL_OK;
  if (N <= DOT_ROWS_OF_X) return few_rows(maps, used, calls[0].x, N);
  for (int64_t i = 0; i < used; i++)
    if (int status = many_rows(maps[i], calls[0].x, N)) return status;
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_linear_packed)(float *y, const float *x, const uint8_t *weight, const float *bias,
                                           int64_t N, int64_t O, int64_t I, int32_t format, int64_t group) {
  const xl::PackedCall call = {y, x, weight, bias, N, O, I, format, group};
  return XL_KERNEL(xl_linear_packed_side_by_side)(&call, 1);
}

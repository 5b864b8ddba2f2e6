// Products of cache-resident operands (product.h): outer products accumulated in a tile of registers.
#include "product.h"

namespace XL_NS {
namespace {

constexpr int TALL = PRODUCT_ROWS;
constexpr int LINE = 64 / sizeof(float);  // floats of a cache line
constexpr bool MANY_REGISTERS = PRODUCT_ROWS == 12;
// With few rows a tile is made wider, so that there are enough sums at once to hide the latency of an fma.
constexpr int ROWS_OF_4 = MANY_REGISTERS ? 6 : 3, ROWS_OF_8 = MANY_REGISTERS ? 2 : 1;

// Where one tile lies; sizes and options are those of the whole product.
struct Tile {
  const float *a, *b;
  int64_t a_row, a_k, b_k;
  float *c;
  const float *bias;
  int64_t last;  // columns in the last vector, 1..W
};

using Run = void (*)(const Product &, const Tile &);

// MR rows and NV vectors; with EDGE, only the first `last` lanes of the last vector exist.
template <int MR, int NV, bool EDGE>
void run_tile(const Product &p, const Tile &t) {
  vf sum[MR][NV];
#pragma GCC unroll 12
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) sum[r][v] = vf{};

  // C comes into the cache while the sums are made: its rows are apart, so that the machine does not see them coming.
#pragma GCC unroll 12
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int i = 0; i < NV * W; i += LINE) __builtin_prefetch(t.c + r * p.c_row + i, 1);

  // Three bases and the steps 0, 1, 2, 3 times a_row: addresses that the machine forms without further registers.
  const int64_t step = t.a_row, step3 = 3 * t.a_row;
  const float *a[3] = {t.a, t.a + 4 * step, t.a + 8 * step};
  const float *b = t.b;
  for (int64_t k = 0; k < p.K; k++) {
    vf right[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) right[v] = EDGE && v == NV - 1 ? load_part(b + v * W, t.last) : load(b + v * W);
#pragma GCC unroll 12
    for (int r = 0; r < MR; r++) {
      const float *base = a[r / 4];
      const vf left = splat(r % 4 == 0 ? base[0] : r % 4 == 1 ? base[step] : r % 4 == 2 ? base[2 * step] : base[step3]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) sum[r][v] = left * right[v] + sum[r][v];
    }
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) a[i] += t.a_k;
    b += t.b_k;
  }

#pragma GCC unroll 8
  for (int v = 0; v < NV; v++) {
    const bool part = EDGE && v == NV - 1;
    vf bias = {};
    if (t.bias) bias = part ? load_part(t.bias + v * W, t.last) : load(t.bias + v * W);
#pragma GCC unroll 12
    for (int r = 0; r < MR; r++) {
      float *c = t.c + r * p.c_row + v * W;
      vf y = sum[r][v] + bias;
      if (p.accumulate) y += part ? load_part(c, t.last) : load(c);
      part ? store_part(c, y, t.last) : store(c, y);
    }
  }
}

// clang-format off
#define XL_ROWS_6(NV, EDGE) run_tile<1, NV, EDGE>, run_tile<2, NV, EDGE>, run_tile<3, NV, EDGE>, \
                            run_tile<4, NV, EDGE>, run_tile<5, NV, EDGE>, run_tile<6, NV, EDGE>
#define XL_ROWS_12(NV, EDGE) XL_ROWS_6(NV, EDGE), run_tile<7, NV, EDGE>, run_tile<8, NV, EDGE>, run_tile<9, NV, EDGE>, \
                             run_tile<10, NV, EDGE>, run_tile<11, NV, EDGE>, run_tile<12, NV, EDGE>
#if defined(__AVX512F__) || defined(__aarch64__)
#define XL_ROWS XL_ROWS_12
const Run wide_4[] = {XL_ROWS_6(4, false)};
const Run wide_8[] = {run_tile<1, 8, false>, run_tile<2, 8, false>};
#else
#define XL_ROWS XL_ROWS_6
const Run wide_4[] = {run_tile<1, 4, false>, run_tile<2, 4, false>, run_tile<3, 4, false>};
const Run wide_8[] = {run_tile<1, 8, false>};
#endif
const Run full[2][TALL] = {{XL_ROWS(1, false)}, {XL_ROWS(2, false)}};
const Run edge[2][TALL] = {{XL_ROWS(1, true)}, {XL_ROWS(2, true)}};
// clang-format on

// Vectors of the next tile, when `columns` remain.
int width_of(int64_t M, int64_t columns) {
  if (M <= ROWS_OF_8 && columns >= 8 * W) return 8;
  if (M <= ROWS_OF_4 && columns >= 4 * W) return 4;
  return columns > W ? 2 : 1;
}

Run tile_of(int64_t rows, int width, bool is_edge) {
  if (width == 8) return wide_8[rows - 1];
  if (width == 4) return wide_4[rows - 1];
  return (is_edge ? edge : full)[width - 1][rows - 1];
}

// One strip of columns, all rows.
void run_strip(const Product &p, Tile t, int width, int64_t columns, bool in_panels = false) {
  t.last = columns - (width - 1) * W;
  const bool is_edge = t.last < W;
  if (!is_edge) t.last = W;
  const TileRows tiles(p.M);
  for (int64_t i = 0; i < tiles.count; i++) {
    const int64_t rows = tiles.rows(i);
    t.a = p.a + (in_panels ? tiles.panel(i, p.K) : tiles.begin(i) * p.a_row);
    if (in_panels) t.a_k = rows;
    tile_of(rows, width, is_edge)(p, t);
    t.c += rows * p.c_row;
  }
}

// All strips of packed B.
void run_strips(const Product &p, bool in_panels) {
  if (p.M <= 0) return;
  for (int64_t n = 0; n < p.N; n += PRODUCT_COLUMNS) {
    const int width = p.N - n > W ? 2 : 1;
    const Tile tile = {p.a, p.b + n * p.K, in_panels ? 1 : p.a_row, p.a_k, width * W,
                       p.c + n, p.bias ? p.bias + n : nullptr, 0};
    run_strip(p, tile, width, min_of(p.N - n, PRODUCT_COLUMNS), in_panels);
  }
}

}  // namespace

void product(const Product &p) {
  if (p.M <= 0) return;
  for (int64_t n = 0; n < p.N;) {
    const int width = width_of(p.M, p.N - n);
    run_strip(p, {p.a, p.b + n, p.a_row, p.a_k, p.b_k, p.c + n, p.bias ? p.bias + n : nullptr, 0}, width,
              min_of(p.N - n, width * W));
    n += width * W;
  }
}

void product_packed(const Product &p) { run_strips(p, false); }

void product_panels(const Product &p) { run_strips(p, true); }

}  // namespace XL_NS

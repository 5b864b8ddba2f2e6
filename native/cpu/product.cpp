// Products of cache-resident operands (product.h): outer products accumulated in a tile of registers.
#include "product.h"

namespace XL_NS {
namespace {

constexpr int TALL = PRODUCT_ROWS;
// With few rows a tile is made wider, so that there are enough sums at once to hide the latency of an fma.
constexpr int ROWS_OF_4 = MANY_REGISTERS ? 6 : 3, ROWS_OF_8 = MANY_REGISTERS ? 2 : 1;

// How the operands lie. What the layout fixes is a constant in the address of a load: the loop over k then consists of
// little but loads and fmas, which matters most where the core is shared with another thread.
enum Layout {
  IN_PLACE,  // any strides
  STRIPS,    // b in strips, a_k = 1
  PANELS,    // b in strips, a in panels
};

// One tile and some steps of k.
struct Tile {
  const float *a, *b;
  int64_t a_row;     // not used with PANELS
  int64_t a_k, b_k;  // used with IN_PLACE
  float *c;
  int64_t c_row;
  int64_t K;
  bool accumulate;
  const float *bias;
  int64_t last;  // columns in the last vector, 1..W
};

using Run = void (*)(const Tile &);

// sum += x y with one float of memory in all lanes of x. With AVX-512 that is one instruction and no register, which the
// compiler does not choose when x is used again.
XL_INLINE void add_product(vf &sum, const float *x, vf y) {
#if defined(__AVX512F__)
  __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(y), "m"(*x));
#else
  sum = splat(*x) * y + sum;
#endif
}

// C, or what is added to it, from the sums of a tile. What is added is asked once, not for each vector. All is read before
// anything is written: with rows of C 8 KB apart a product takes 3 % less time [an EPYC, Zen 4], probably since loads were
// taken to be of what had been stored to the row before, whose address ends alike.
template <int MR, int NV, bool EDGE>
XL_INLINE void write_tile(const Tile &t, vf (&sum)[MR][NV]) {
  const auto write = [&](auto added) __attribute__((always_inline)) {
#pragma GCC unroll 12
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) {
        const bool part = EDGE && v == NV - 1;
        const auto get = [&](const float *p) { return part ? load_part(p, t.last) : load(p); };
        sum[r][v] = added(sum[r][v], get, t.c + r * t.c_row + v * W, v);
      }
#pragma GCC unroll 12
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) {
        const bool part = EDGE && v == NV - 1;
        float *c = t.c + r * t.c_row + v * W;
        part ? store_part(c, sum[r][v], t.last) : store(c, sum[r][v]);
      }
  };
  if (t.bias && t.accumulate) {
    write([&](vf y, auto get, float *c, int v) { return y + get(t.bias + v * W) + get(c); });
  } else if (t.bias) {
    write([&](vf y, auto get, float *, int v) { return y + get(t.bias + v * W); });
  } else if (t.accumulate) {
    write([](vf y, auto get, float *c, int) { return y + get(c); });
  } else {
    write([](vf y, auto, float *, int) { return y; });
  }
}

// MR rows and NV vectors; with EDGE, only the first `last` lanes of the last vector exist.
template <int MR, int NV, bool EDGE, Layout LAYOUT>
void run_tile(const Tile &t) {
  // Of the rows, every second one takes A from memory with each fma: fewer instructions, but more loads; all of them
  // would be more than the machine can load.
  constexpr bool FROM_MEMORY = W == 16 && LAYOUT == PANELS && NV > 1;
  vf sum[MR][NV];
#pragma GCC unroll 12
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) sum[r][v] = vf{};

  // C comes into the cache while the sums are made: its rows are apart, so that the machine does not see them coming.
#pragma GCC unroll 12
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int i = 0; i < NV * W; i += LINE_FLOATS) __builtin_prefetch(t.c + r * t.c_row + i, 1);

  // One step of k, with A[r,k] at left(r).
  const auto step = [&](const float *b, auto left) __attribute__((always_inline)) {
    vf right[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) {
      const bool part = LAYOUT == IN_PLACE && EDGE && v == NV - 1;  // strips are padded
      right[v] = part ? load_part(b + v * W, t.last) : load(b + v * W);
    }
#pragma GCC unroll 12
    for (int r = 0; r < MR; r++) {
      if (FROM_MEMORY && r % 2 == 1) {
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) add_product(sum[r][v], left(r), right[v]);
        continue;
      }
      const vf x = splat(*left(r));
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) sum[r][v] = x * right[v] + sum[r][v];
    }
  };
  const float *b = t.b;
  if constexpr (LAYOUT == PANELS) {
    const float *a = t.a;
#pragma GCC unroll 4
    for (int64_t k = 0; k < t.K; k++, a += MR, b += NV * W) step(b, [&](int r) { return a + r; });
  } else {
    // Three bases, and -1, 0, 1 and 2 times a_row: addresses that the load itself can form.
    const int64_t row = t.a_row, back = -row;
    const float *a[3] = {t.a + row, t.a + 5 * row, t.a + 9 * row};
    const auto left = [&](int r) {
      return a[r / 4] + (r % 4 == 0 ? back : r % 4 == 1 ? 0 : r % 4 == 2 ? row : 2 * row);
    };
    const auto next = [&](int64_t a_k) __attribute__((always_inline)) {
#pragma GCC unroll 3
      for (int i = 0; i < 3; i++) a[i] += a_k;
    };
    if constexpr (LAYOUT == STRIPS) {
#pragma GCC unroll 4
      for (int64_t k = 0; k < t.K; k++, b += NV * W, next(1)) step(b, left);
    } else {
      for (int64_t k = 0; k < t.K; k++, b += t.b_k, next(t.a_k)) step(b, left);
    }
  }
  write_tile<MR, NV, EDGE>(t, sum);
}

// clang-format off
#define XL_ROWS_6(NV, EDGE, LAYOUT) \
  run_tile<1, NV, EDGE, LAYOUT>, run_tile<2, NV, EDGE, LAYOUT>, run_tile<3, NV, EDGE, LAYOUT>, \
  run_tile<4, NV, EDGE, LAYOUT>, run_tile<5, NV, EDGE, LAYOUT>, run_tile<6, NV, EDGE, LAYOUT>
#define XL_ROWS_8(NV, EDGE, LAYOUT) XL_ROWS_6(NV, EDGE, LAYOUT), \
  run_tile<7, NV, EDGE, LAYOUT>, run_tile<8, NV, EDGE, LAYOUT>
#define XL_ROWS_12(NV, EDGE, LAYOUT) XL_ROWS_8(NV, EDGE, LAYOUT), run_tile<9, NV, EDGE, LAYOUT>, \
  run_tile<10, NV, EDGE, LAYOUT>, run_tile<11, NV, EDGE, LAYOUT>, run_tile<12, NV, EDGE, LAYOUT>
#if defined(__AVX512F__)
#define XL_WIDTHS(EDGE, LAYOUT) \
  {{XL_ROWS_8(1, EDGE, LAYOUT)}, {XL_ROWS_8(2, EDGE, LAYOUT)}, {XL_ROWS_8(3, EDGE, LAYOUT)}}
#elif defined(__aarch64__)
#define XL_WIDTHS(EDGE, LAYOUT) {{XL_ROWS_12(1, EDGE, LAYOUT)}, {XL_ROWS_12(2, EDGE, LAYOUT)}}
#else
#define XL_WIDTHS(EDGE, LAYOUT) {{XL_ROWS_6(1, EDGE, LAYOUT)}, {XL_ROWS_6(2, EDGE, LAYOUT)}}
#endif
#define XL_LAYOUT(LAYOUT) {XL_WIDTHS(false, LAYOUT), XL_WIDTHS(true, LAYOUT)}
// By layout, whether the last vector is a part, vectors and rows.
const Run narrow[3][2][PRODUCT_VECTORS][TALL] = {XL_LAYOUT(IN_PLACE), XL_LAYOUT(STRIPS), XL_LAYOUT(PANELS)};
#if defined(__AVX512F__) || defined(__aarch64__)
const Run wide_4[] = {XL_ROWS_6(4, false, IN_PLACE)};
const Run wide_8[] = {run_tile<1, 8, false, IN_PLACE>, run_tile<2, 8, false, IN_PLACE>};
#else
const Run wide_4[] = {run_tile<1, 4, false, IN_PLACE>, run_tile<2, 4, false, IN_PLACE>, run_tile<3, 4, false, IN_PLACE>};
const Run wide_8[] = {run_tile<1, 8, false, IN_PLACE>};
#endif
// clang-format on

// Vectors of the next tile, when `columns` remain.
int width_of(int64_t M, int64_t columns) {
  if (M <= ROWS_OF_8 && columns >= 8 * W) return 8;
  if (M <= ROWS_OF_4 && columns >= 4 * W) return 4;
  return int(strip_width(columns) / W);
}

Run tile_of(int64_t rows, int width, bool is_edge, Layout layout) {
  if (width == 8) return wide_8[rows - 1];
  if (width == 4) return wide_4[rows - 1];
  return narrow[layout][is_edge][width - 1][rows - 1];
}

// One strip of columns, all rows; t is the first tile. k_begin: where its steps begin within a panel.
void run_strip(const Product &p, Tile t, int width, int64_t columns, Layout layout, int64_t k_begin = 0) {
  t.last = columns - (width - 1) * W;
  const bool is_edge = t.last < W;
  if (!is_edge) t.last = W;
  const TileRows tiles(p.M);
  for (int64_t i = 0; i < tiles.count; i++) {
    const int64_t rows = tiles.rows(i);
    t.a = p.a + (layout == PANELS ? tiles.panel(i, p.K) + k_begin * rows : tiles.begin(i) * p.a_row + k_begin);
    tile_of(rows, width, is_edge, layout)(t);
    t.c += rows * p.c_row;
  }
}

// All strips of packed B, each in equal parts of k.
void run_strips(const Product &p, Layout layout, int64_t steps) {
  if (p.M <= 0) return;
  const int64_t parts = max_of(1, ceil_div(p.K, steps)), part = ceil_div(p.K, parts);
  for (int64_t n = 0; n < p.N; n += PRODUCT_COLUMNS) {
    const int64_t columns = min_of(p.N - n, PRODUCT_COLUMNS), width = strip_width(columns);
    for (int64_t i = 0; i < parts; i++) {
      const int64_t k = i * part;
      Tile tile = {};
      tile.b = p.b + n * p.K + k * width;
      tile.a_row = p.a_row;
      tile.c = p.c + n;
      tile.c_row = p.c_row;
      tile.K = min_of(part, p.K - k);
      tile.accumulate = p.accumulate || i > 0;
      tile.bias = p.bias && i == 0 ? p.bias + n : nullptr;
      run_strip(p, tile, int(width / W), columns, layout, k);
    }
  }
}

}  // namespace

void product(const Product &p) {
  if (p.M <= 0) return;
  for (int64_t n = 0; n < p.N;) {
    const int width = width_of(p.M, p.N - n);
    const Tile tile = {p.a, p.b + n, p.a_row, p.a_k, p.b_k, p.c + n, p.c_row, p.K, p.accumulate,
                       p.bias ? p.bias + n : nullptr, 0};
    run_strip(p, tile, width, min_of(p.N - n, width * W), IN_PLACE);
    n += width * W;
  }
}

void product_packed(const Product &p, int64_t steps) { run_strips(p, STRIPS, steps); }

void product_panels(const Product &p, int64_t steps) { run_strips(p, PANELS, steps); }

}  // namespace XL_NS

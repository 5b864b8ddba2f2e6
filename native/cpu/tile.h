// Small matrix products that stay in registers and the layout that feeds them, for the recurrent cells. Their products
// are many, small and tied to what comes before and after, so they do not go through the matrix product of the library.
//
// Layout "panels" of a matrix [rows, cols]: columns cut in strips of P; strip p holds [rows][P] without gaps, so that a
// product reads it front to back whatever the width. The last strip is as large as the others; past the last vector
// that holds columns it is neither written nor read.
#ifndef XL_CPU_TILE_H
#define XL_CPU_TILE_H
#include "kernel.h"

namespace XL_NS {
namespace {

// A tile is MR rows by 1 to NR vectors. Four rows leave enough accumulators to hide the latency of an fma and divide
// every padded length; NR is what the register file holds besides.
constexpr int MR = 4;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int NR = 4;
#else
constexpr int NR = 2;
#endif
constexpr int64_t P = NR * W;

inline int64_t round_up(int64_t n, int64_t multiple) { return ceil_div(n, multiple) * multiple; }
// Floats of a matrix [rows, cols] in panels.
inline int64_t panel_floats(int64_t rows, int64_t cols) { return rows * round_up(cols, P); }

template <int N>
struct Count {
  static constexpr int value = N;
};

// body(Count<n>()) for n = vectors, 1..NR: makes the width of a tile a constant.
template <class Body>
XL_INLINE void with_vectors(int64_t vectors, const Body &body) {
  if constexpr (NR == 4) {
    if (vectors == 4) return body(Count<4>());
    if (vectors == 3) return body(Count<3>());
  }
  if (vectors == 2) return body(Count<2>());
  return body(Count<1>());
}

// body(Count<n>()) for n = rows, 1..MOST, and nothing for 0: makes the height of a tile a constant.
template <int MOST, class Body>
XL_INLINE void with_rows(int64_t rows, const Body &body) {
  if constexpr (MOST > 0) {
    if (rows == MOST) return body(Count<MOST>());
    with_rows<MOST - 1>(rows, body);
  }
}

// body(col, vectors) for each panel of `cols` columns, from the first or from the last on.
template <class Body>
XL_INLINE void for_panels(int64_t cols, const Body &body, bool backwards = false) {
  const int64_t last = (ceil_div(cols, P) - 1) * P;
  for (int64_t index = 0; index < cols; index += P) {
    const int64_t col = backwards ? last - index : index;
    body(col, min_of(NR, ceil_div(cols - col, W)));
  }
}

template <int R, int NV>
XL_INLINE void tile_zero(vf (&acc)[R][NV]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) acc[r][v] = vf{};
}

// acc[r][v] += sum over k < K of a[r * row_step + k * k_step] * b[k * LB + v * W ...]
template <int LB, int R, int NV>
XL_INLINE void tile_step(vf (&acc)[R][NV], const float *a, int64_t row_step, const float *b) {
  vf right[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; v++) right[v] = load(b + v * W);
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
    const vf left = splat(a[r * row_step]);
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) acc[r][v] = left * right[v] + acc[r][v];
  }
}

template <int LB = P, int R, int NV>
XL_INLINE void tile_product(vf (&acc)[R][NV], const float *a, int64_t row_step, int64_t k_step, const float *b,
                            int64_t K) {
  int64_t k = 0;
  if constexpr (R * NV < 8) {
    // Too few accumulators to keep the machine busy: odd steps get their own.
    vf odd[R][NV];
    tile_zero(odd);
    for (; k + 2 <= K; k += 2) {
      tile_step<LB>(acc, a + k * k_step, row_step, b + k * LB);
      tile_step<LB>(odd, a + (k + 1) * k_step, row_step, b + (k + 1) * LB);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) acc[r][v] += odd[r][v];
  }
#pragma GCC unroll 4
  for (; k < K; k++) tile_step<LB>(acc, a + k * k_step, row_step, b + k * LB);
}

// acc[r][v] = factor[r] * acc[r][v]
template <int R, int NV>
XL_INLINE void tile_scale_rows(vf (&acc)[R][NV], const float *factor) {
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) acc[r][v] = acc[r][v] * factor[r];
}

// One row of a tile at `row`, of which `cols` columns exist: body(pointer, lanes, v) for each vector.
template <int NV, class Body>
XL_INLINE void row_lanes(float *row, int64_t cols, const Body &body) {
#pragma GCC unroll 4
  for (int v = 0; v < NV; v++) {
    const int64_t lanes = min_of(W, cols - v * W);
    if (lanes > 0) body(row + v * W, lanes, v);
  }
}

XL_INLINE vf load_lanes(const float *p, int64_t n) { return n >= W ? load(p) : load_part(p, n); }
XL_INLINE void store_lanes(float *p, vf x, int64_t n) { n >= W ? store(p, x) : store_part(p, x, n); }

// to[r] += scale * acc[r] for the rows of a tile that exist.
template <int NV>
XL_INLINE void add_tile(float *to, int64_t step, int64_t rows, int64_t cols, const vf (&acc)[MR][NV], float scale) {
#pragma GCC unroll 4
  for (int r = 0; r < MR; r++) {
    if (r >= rows) break;
    row_lanes<NV>(to + r * step, cols, [&](float *p, int64_t lanes, int v) {
      store_lanes(p, load_lanes(p, lanes) + acc[r][v] * scale, lanes);
    });
  }
}

// lanes[r] += acc[r] . x[r], lane by lane; x is a row of panels.
template <int NV>
XL_INLINE void dot_tile(float *lanes, const vf (&acc)[MR][NV], const float *x) {
#pragma GCC unroll 4
  for (int r = 0; r < MR; r++) {
    vf sum = load(lanes + r * W);
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) sum += acc[r][v] * load(x + r * P + v * W);
    store(lanes + r * W, sum);
  }
}

// Asks for the cache lines of n floats ahead of their use. Rows of one head have those of other heads between them, so
// that the hardware does not see what comes next.
XL_INLINE void prefetch(const float *p, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(p + i, 0, 2);
  // g++ 12 drops calls of functions that do nothing but prefetch.
  __asm__ volatile("" : : "r"(p));
}

// Writes a vector past the caches, which keeps them for what is read again soon. Only where a vector is a whole,
// aligned cache line.
constexpr bool can_stream = W * sizeof(float) == 64;
XL_INLINE void stream(float *p, vf x) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)x);
#else
  store(p, x);
#endif
}
// Before other threads read what was streamed.
XL_INLINE void stream_end() {
#if defined(__AVX512F__)
  _mm_sfence();
#endif
}

// A bump allocator over one block of scratch. Over NULL it only counts, so that the same code says how much is needed.
struct Arena {
  float *base = nullptr;
  int64_t used = 0;
  explicit Arena(float *block) : base(block) {}
  float *take(int64_t floats) {
    float *p = base ? base + used : nullptr;
    used += round_up(floats, 16);
    return p;
  }
};

}  // namespace
}  // namespace XL_NS
#endif

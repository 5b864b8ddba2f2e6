// Rows of a matrix into storage formats and back, and rows of a table by token number.
//
// The bytes are prescribed: the operations and their order are those of src/device/reference/packed.ts, so that every
// machine makes the same file. No product is added to anything that would round differently with a fused multiply-add.
#include "lanes.h"
#include "reduce.h"
#include "tokens.h"
#include "weights.h"

namespace XL_NS {
namespace {

typedef uint16_t vh __attribute__((vector_size(2 * W)));
typedef int8_t vb __attribute__((vector_size(W)));

// Groups whose largest weight is below this are stored as zeros: their scales would leave the normal numbers.
constexpr float SMALLEST = 7.70371977754894e-34f;  // 2^-110

// To the nearest integer, of two the even one.
XL_INLINE vi round_to_int(vf x) {
#if defined(__AVX512F__)
  return (vi)_mm512_maskz_cvtps_epi32((__mmask16)-1, (__m512)x);
#elif defined(__AVX2__)
  return (vi)_mm256_cvtps_epi32((__m256)x);
#elif defined(__x86_64__)
  return (vi)_mm_cvtps_epi32((__m128)x);
#else
  return (vi)vcvtnq_s32_f32((float32x4_t)x);
#endif
}

// ---- 16-bit floats, rounded to nearest even; what is too large becomes infinite ----

XL_INLINE vi bfloat_bits(vf x) {
  const vu bits = (vu)x;
  return (vi)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

XL_INLINE vi half_bits(vf x) {
  const vi bits = (vi)x, size = bits & 0x7fffffff;
  const vi normal = (size + 0xfff + ((size >> 13) & 1) - (112 << 23)) >> 13;
  // A step of a subnormal half is the last bit of a float near 0.5: the addition rounds.
  const vi subnormal = (vi)((vf)size + 0.5f) - 0x3f000000;
  const vi value = select_int(size < 0x38800000, subnormal, normal);
  return select_int(value > 0x7c00, splat_int(0x7c00), value) | ((vi)((vu)bits >> 16) & 0x8000);
}

template <int32_t F>
XL_INLINE vi small_bits(vf x) {
  return F == XL_BF16 ? bfloat_bits(x) : half_bits(x);
}

inline uint16_t bfloat_of(float x) { return uint16_t(bfloat_bits(splat(x))[0]); }

inline float float_of(uint16_t bfloat) {
  uint8_t bytes[2];
  __builtin_memcpy(bytes, &bfloat, 2);
  return scale_at(bytes);
}

template <int32_t F>
void pack_small_floats(uint8_t *row, const float *x, int64_t C) {
  for (int64_t c = 0; c < C; c += W) {
    const int64_t n = min_of(W, C - c);
    const vh bits = __builtin_convertvector((vu)small_bits<F>(load_part(x + c, n)), vh);
    __builtin_memcpy(row + 2 * c, &bits, size_t(2 * n));
  }
}

// ---- codes with scales ----

// A group of weights, filled up with zeros to a multiple of 16.
struct Group {
  const float *x;
  int64_t size;

  vf load(int64_t c) const { return c + W <= size ? XL_NS::load(x + c) : load_part(x + c, max_of(size - c, 0)); }
};

float largest_of(Group group) {
  vf most = {};
  for (int64_t c = 0; c < group.size; c += W) most = vmax(vabs(group.load(c)), most);
  float lanes[W], largest = 0;
  store(lanes, most);
  for (int i = 0; i < W; i++) largest = lanes[i] > largest ? lanes[i] : largest;
  return largest;
}

XL_INLINE vi codes_of(vf x, float inverse, float low, float high) {
  return round_to_int(vmin(vmax(x * inverse, splat(low)), splat(high)));
}

uint16_t int8_scale(Group group) {
  const float largest = largest_of(group);
  return largest < SMALLEST ? uint16_t(0) : bfloat_of(largest / 127.0f);
}

// In double, where the square of a float is exact: 16 sums of every 16th weight, added as a tree that halves.
double squared_error(Group group, float scale, float inverse) {
  constexpr int PARTS = 32 / W;
  vd sums[PARTS] = {};
  for (int64_t c = 0; c < group.size; c += 16)
#pragma GCC unroll 4
    for (int v = 0; v < 16 / W; v++) {
      const vf x = group.load(c + v * W);
      // A code has 4 bits and a scale 8, so that their product is exact.
      const vf error = x - to_float(codes_of(x, inverse, -8, 7)) * scale;
      const vd low = low_double(error), high = high_double(error);
      sums[2 * v] += low * low;
      sums[2 * v + 1] += high * high;
    }
#pragma GCC unroll 4
  for (int half = PARTS / 2; half > 0; half /= 2)
#pragma GCC unroll 4
    for (int i = 0; i < half; i++) sums[i] += sums[i + half];
  double lanes[W / 2];
  __builtin_memcpy(lanes, sums, sizeof lanes);
  for (int half = W / 4; half > 0; half /= 2)
    for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
  return lanes[0];
}

constexpr int TRIED = 16;

// Of scales that put the largest weight 7 to 14.5 steps from zero, on the side of the code -8, the best one.
uint16_t int4_scale(Group group) {
  const float largest = largest_of(group);
  if (largest < SMALLEST) return 0;
  float sign = -1.0f;
  for (int64_t c = 0; c < group.size; c++) {
    if (__builtin_fabsf(group.x[c]) != largest) continue;
    sign = group.x[c] > 0 ? -1.0f : 1.0f;
    break;
  }
  static constexpr float steps[TRIED] = {7.0f,  7.5f,  8.0f,  8.5f,  9.0f,  9.5f,  10.0f, 10.5f,
                                         11.0f, 11.5f, 12.0f, 12.5f, 13.0f, 13.5f, 14.0f, 14.5f};
  float scales[TRIED], inverses[TRIED];
  for (int k = 0; k < TRIED; k += W) {
    const vf scale = (vf)(bfloat_bits(splat(sign * largest) / load(steps + k)) << 16);
    store(scales + k, scale);
    store(inverses + k, 1.0f / scale);
  }
  double errors[TRIED];
  for (int k = 0; k < TRIED; k++) errors[k] = squared_error(group, scales[k], inverses[k]);
  int best = 0;
  for (int k = 1; k < TRIED; k++) best = errors[k] < errors[best] ? k : best;
  return bfloat_of(scales[best]);
}

// The words of a row of int4 from its codes, which lie in whole blocks.
void join_codes(uint8_t *row, const int32_t *codes, int64_t count) {
  for (int64_t block = 0; block * BLOCK < count; block++)
    for (int64_t l = 0; l < 16; l += W) {
      vi word = {};
      for (int j = PLANES - 1; j >= 0; j--) word = (word << 4) | load_int(codes + block * BLOCK + 16 * j + l);
      __builtin_memcpy(row + block * LINE + 4 * l, &word, sizeof word);
    }
}

// `codes` has room for the columns in whole blocks.
void pack_codes(const Weights &w, uint8_t *row, const float *x, int32_t *codes) {
  __builtin_memset(row, 0, size_t(w.row_bytes));
  const int64_t rounded = ceil_div(w.columns, BLOCK) * BLOCK;
  for (int64_t c = 0; c < rounded; c += W) store_int(codes + c, splat_int(w.format == XL_INT4 ? 8 : 0));
  for (int64_t g = 0; g < w.scale_count; g++) {
    const int64_t begin = g * w.group;
    const Group group = {x + begin, min_of(w.group, w.columns - begin)};
    const uint16_t scale = w.format == XL_INT8 ? int8_scale(group) : int4_scale(group);
    __builtin_memcpy(row + w.scales + 2 * g, &scale, sizeof scale);
    if (scale == 0) continue;
    const float inverse = 1.0f / float_of(scale);
    for (int64_t c = 0; c < group.size; c += W) {
      // Beyond the last column x counts as 0, whose code is that of what stands there already.
      if (w.format == XL_INT4) {
        store_int(codes + begin + c, codes_of(group.load(c), inverse, -8, 7) + 8);
      } else {
        const vb bytes = __builtin_convertvector(codes_of(group.load(c), inverse, -127, 127), vb);
        __builtin_memcpy(row + begin + c, &bytes, size_t(min_of(W, group.size - c)));
      }
    }
  }
  if (w.format == XL_INT4) join_codes(row, codes, rounded);
}

void pack_row(const Weights &w, uint8_t *row, const float *x, int32_t *codes) {
  if (w.format == XL_BF16) return pack_small_floats<XL_BF16>(row, x, w.columns);
  if (w.format == XL_F16) return pack_small_floats<XL_F16>(row, x, w.columns);
  pack_codes(w, row, x, codes);
}

// The largest number, as bits, that does not become infinite.
int32_t largest_bits(int32_t format) {
  if (format == XL_F16) return 0x477fefff;   // just below 65520
  if (format == XL_BF16) return 0x7f7f7fff;  // just below 2^128 (1 - 2^-9)
  return 0x7f7fffff;
}

// The first number that cannot be stored, or `none`.
int64_t first_misfit(const float *x, int64_t rows, int64_t C, int32_t format, int64_t none) {
  const int32_t most = largest_bits(format);
  int64_t first = none;
  parallel_range(rows, memory_grain / C, [&](int64_t begin, int64_t end, int) {
    vi misfit = {};
    for_lanes(begin * C, end * C, [&](int64_t n, auto lanes) { misfit |= ((vi)lanes.load(x + n) & 0x7fffffff) > most; });
    bool any = false;
    for (int i = 0; i < W; i++) any = any || misfit[i] != 0;
    if (!any) return;
    int64_t n = begin * C;
    for (; n < end * C; n++) {
      int32_t bits;
      __builtin_memcpy(&bits, x + n, sizeof bits);
      if ((bits & 0x7fffffff) > most) break;
    }
    int64_t known = __atomic_load_n(&first, __ATOMIC_RELAXED);
    while (n < known && !__atomic_compare_exchange_n(&first, &known, n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
  });
  return first;
}

int misfit_error(float value, int64_t row, int64_t column, int32_t format) {
  const char *rule = "; only finite numbers can be packed";
  if (__builtin_isfinite(value))
    rule = format == XL_F16 ? ", beyond what f16 can hold (65504); use bf16" : ", beyond what bf16 can hold (3.39e38)";
  return xl::fail(XL_INVALID, "pack_rows: row %lld holds %g at column %lld%s", (long long)row, (double)value,
                  (long long)column, rule);
}

}  // namespace
}  // namespace XL_NS

using namespace XL_NS;

extern "C" int XL_KERNEL(xl_pack_rows)(uint8_t *packed, const float *x, int64_t R, int64_t C, int32_t format,
                                       int64_t group) {
  Weights w;
  if (int status = describe_weights(w, "pack_rows", packed, R, C, format, group)) return status;
  const int64_t misfit = first_misfit(x, R, C, format, R * C);
  if (misfit < R * C) return misfit_error(x[misfit], misfit / C, misfit % C, format);
  const int64_t floats = ceil_div(C, BLOCK) * BLOCK;
  for (int worker = 0; worker < xl::threads(); worker++)
    if (!xl::scratch(worker, floats)) return out_of_scratch("pack_rows", floats);
  parallel_range(R, compute_grain / C, [&](int64_t begin, int64_t end, int worker) {
    auto *codes = reinterpret_cast<int32_t *>(xl::scratch(worker, floats));
    for (int64_t r = begin; r < end; r++) pack_row(w, packed + r * w.row_bytes, x + r * C, codes);
  });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_unpack_rows)(float *y, const uint8_t *packed, int64_t R, int64_t C, int32_t format,
                                         int64_t group) {
  Weights w;
  if (int status = describe_weights(w, "unpack_rows", packed, R, C, format, group)) return status;
  parallel_range(R, memory_grain / C, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) unpack_row(w, w.row(r), y + r * C);
  });
  return XL_OK;
}

extern "C" int XL_KERNEL(xl_embedding_packed)(float *y, const int32_t *tokens, const uint8_t *table, int64_t N,
                                              int64_t D, int64_t V, int32_t format, int64_t group) {
  Weights w;
  if (int status = describe_weights(w, "embedding_packed", table, V, D, format, group)) return status;
  if (int status = check_tokens("embedding_packed", tokens, N, V)) return status;
  parallel_range(N, memory_grain / D, [&](int64_t begin, int64_t end, int) {
    for (int64_t n = begin; n < end; n++) unpack_row(w, w.row(tokens[n]), y + n * D);
  });
  return XL_OK;
}

// The kernel of a diagonal state-space model, kernel[l] = sum_n Re(c_n e^((l - s) z_n)), and its gradients.
//
// Time is cut into chunks of R steps: e^((R k + r) z) = start_k * power_r. Starts and powers advance in double and are
// rounded once; so a step and mode cost two multiply-adds in float (four backward), and errors do not grow with l.
// Vectors run along the channels. A task is a block of channels and a piece of time.
#include "complex_double.h"
#include "reduce.h"

using namespace XL_NS;

namespace {

constexpr int64_t R = 32;
constexpr int64_t piece = 1024;  // steps of a task, a multiple of 2 R
constexpr int64_t piece_chunks = piece / R;

struct Kernel {
  const float *c, *z;
  int64_t L, N, D;
  bool anchored;

  int64_t size() const { return N * D; }
  int64_t blocks() const { return ceil_div(D, W); }
  int64_t pieces() const { return ceil_div(L, piece); }
};

// One half of the lanes of a mode: z, and e^(-s z) with the exponent s of its first tap.
struct Mode {
  cd z, anchor;
  vd shift;
};

XL_INLINE Mode mode_of(const Kernel &kernel, cd z) {
  const vl growing = z.re > 0.0;
  const vd last = splat_double(double(kernel.L - 1));
  const vd shift = kernel.anchored ? (growing ? last : vd{}) : vd{};
  return {z, exp_complex(z * -shift), shift};
}

// Starts [chunk][n] (with c and the anchor; the imaginary part negated) and powers [r][n] of a block from step `begin`
// on; entries are a vector of real and one of imaginary parts.
template <class Lanes>
void make_powers(const Kernel &kernel, float *starts, float *powers, int64_t begin, int64_t chunks, int64_t d,
                 Lanes lanes) {
  const int64_t size = kernel.size(), N = kernel.N;
  for (int64_t n = 0; n < N; n++) {
    const cd_pair z = load_complex(kernel.z + n * kernel.D + d, size, lanes);
    const cd_pair c = load_complex(kernel.c + n * kernel.D + d, size, lanes);
    cd_pair start, power, jump, step;
    for (int half = 0; half < 2; half++) {
      const Mode mode = mode_of(kernel, z.half[half]);
      start.half[half] = c.half[half] * mode.anchor * exp_complex(mode.z * double(begin));
      power.half[half] = real_double(1);
      step.half[half] = exp_complex(mode.z);
      jump.half[half] = exp_complex(mode.z * double(R));
    }
    for (int64_t k = 0; k < chunks; k++) {
      float *out = starts + (k * N + n) * 2 * W;
      store(out, real_of(start));
      store(out + W, -imaginary_of(start));
      for (int half = 0; half < 2; half++) start.half[half] = start.half[half] * jump.half[half];
    }
    for (int64_t r = 0; r < R; r++) {
      float *out = powers + (r * N + n) * 2 * W;
      store(out, real_of(power));
      store(out + W, imaginary_of(power));
      for (int half = 0; half < 2; half++) power.half[half] = power.half[half] * step.half[half];
    }
  }
}

// Sums over the modes for two chunks and four steps within each: sums[chunk][step].
XL_INLINE void sum_modes(vf (&sums)[2][4], const float *starts, const float *powers, int64_t N) {
  vf a[2][4] = {};
  const int64_t row = N * 2 * W;
  for (int64_t n = 0; n < N; n++, starts += 2 * W, powers += 2 * W) {
    const vf re[2] = {load(starts), load(starts + row)}, im[2] = {load(starts + W), load(starts + row + W)};
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
      const vf power = load(powers + r * row), turned = load(powers + r * row + W);
      a[0][r] += re[0] * power;
      a[1][r] += re[1] * power;
      a[0][r] += im[0] * turned;
      a[1][r] += im[1] * turned;
    }
  }
  for (int k = 0; k < 2; k++)
    for (int r = 0; r < 4; r++) sums[k][r] = a[k][r];
}

int check_kernel(const char *name, const Kernel &kernel) {
  if (kernel.L < 0 || kernel.N < 0 || kernel.D < 0)
    return xl::fail(XL_INVALID, "%s: sizes must not be negative, got L=%lld N=%lld D=%lld", name, (long long)kernel.L,
                    (long long)kernel.N, (long long)kernel.D);
  return XL_OK;
}

// body(block, piece, d, lanes, worker) for all tasks.
template <class Body>
void each_piece(const Kernel &kernel, const Body &body) {
  parallel_for(kernel.blocks() * kernel.pieces(), [&](int64_t task, int worker) {
    const int64_t block = task % kernel.blocks(), d = block * W;
    if (d + W <= kernel.D) return body(block, task / kernel.blocks(), d, AllLanes{}, worker);
    body(block, task / kernel.blocks(), d, SomeLanes{kernel.D - d}, worker);
  });
}

}  // namespace

extern "C" int XL_KERNEL(xl_ssm_kernel_forward)(float *out, const float *c, const float *z, int64_t L, int64_t N,
                                                int64_t D, int32_t anchored) {
  const Kernel kernel = {c, z, L, N, D, anchored != 0};
  if (int status = check_kernel("ssm_kernel_forward", kernel)) return status;
  const int64_t floats = max_of(1, (piece_chunks + R) * N * 2 * W);
  for (int worker = 0; worker < xl::threads(); worker++)
    if (!xl::scratch(worker, floats)) return out_of_scratch("ssm_kernel_forward", floats);
  each_piece(kernel, [&](int64_t, int64_t part, int64_t d, auto lanes, int worker) {
    float *starts = xl::scratch(worker, floats), *powers = starts + piece_chunks * N * 2 * W;
    const int64_t begin = part * piece, end = min_of(L, begin + piece);
    const int64_t chunks = ceil_div(end - begin, 2 * R) * 2;
    make_powers(kernel, starts, powers, begin, chunks, d, lanes);
    for (int64_t k = 0; k < chunks; k += 2) {
      for (int64_t r = 0; r < R; r += 4) {
        vf sums[2][4];
        sum_modes(sums, starts + k * N * 2 * W, powers + r * N * 2 * W, N);
        for (int i = 0; i < 8; i++) {
          const int64_t l = begin + (k + i / 4) * R + r + i % 4;
          if (l < end) lanes.store(out + l * D + d, sums[i / 4][i % 4]);
        }
      }
    }
  });
  return XL_OK;
}

namespace {

// sum_l g_l e^((l - s) z) and sum_l l g_l e^((l - s) z) of a mode.
struct Moments {
  cd_pair plain, weighted;
};

struct Sums {
  vf plain_re, plain_im, weighted_re, weighted_im;
};

// Sums over the R steps of two chunks of g_r power_r and of r g_r power_r; `powers` is [R] of power and r power.
XL_INLINE void sum_steps(Sums (&sums)[2], const float *g, const float *powers) {
  Sums a = {}, b = {};
  for (int64_t r = 0; r < R; r++, g += W, powers += 4 * W) {
    const vf v = load(g), w = load(g + R * W);
    const vf re = load(powers), im = load(powers + W), re_r = load(powers + 2 * W), im_r = load(powers + 3 * W);
    a.plain_re += v * re;
    a.plain_im += v * im;
    a.weighted_re += v * re_r;
    a.weighted_im += v * im_r;
    b.plain_re += w * re;
    b.plain_im += w * im;
    b.weighted_re += w * re_r;
    b.weighted_im += w * im_r;
  }
  sums[0] = a;
  sums[1] = b;
}

XL_INLINE Moments moments_of(const Kernel &kernel, const float *g, float *powers, const cd_pair &z, int64_t begin,
                             int64_t chunks) {
  Moments moments = {};
  cd_pair start, jump, power = {{real_double(1), real_double(1)}}, step;
  for (int half = 0; half < 2; half++) {
    const Mode mode = mode_of(kernel, z.half[half]);
    start.half[half] = mode.anchor * exp_complex(mode.z * double(begin));
    step.half[half] = exp_complex(mode.z);
    jump.half[half] = exp_complex(mode.z * double(R));
  }
  for (int64_t r = 0; r < R; r++) {
    float *out = powers + r * 4 * W;
    const vf re = real_of(power), im = imaginary_of(power);
    store(out, re);
    store(out + W, im);
    store(out + 2 * W, re * float(r));
    store(out + 3 * W, im * float(r));
    for (int half = 0; half < 2; half++) power.half[half] = power.half[half] * step.half[half];
  }
  Sums sums[2];
  for (int64_t k = 0; k < chunks; k++) {
    if (k % 2 == 0) sum_steps(sums, g + k * R * W, powers);
    const Sums &s = sums[k % 2];
    for (int half = 0; half < 2; half++) {
      const cd plain = {half_of(s.plain_re, half), half_of(s.plain_im, half)};
      const cd weighted = {half_of(s.weighted_re, half), half_of(s.weighted_im, half)};
      moments.plain.half[half] = moments.plain.half[half] + start.half[half] * plain;
      moments.weighted.half[half] =
          moments.weighted.half[half] + start.half[half] * (weighted + plain * double(begin + k * R));
      start.half[half] = start.half[half] * jump.half[half];
    }
  }
  return moments;
}

struct KernelGradients {
  float *dc, *dz;
};

// What the pieces of time found for the modes of a block, [pieces][blocks][N], added to the gradients.
template <class Lanes>
void finish_block(const Kernel &kernel, const KernelGradients &g, const Moments *all, int64_t block, int64_t d,
                  Lanes lanes) {
  for (int64_t n = 0; n < kernel.N; n++) {
    const int64_t at = n * kernel.D + d;
    const cd_pair c = load_complex(kernel.c + at, kernel.size(), lanes);
    const cd_pair z = load_complex(kernel.z + at, kernel.size(), lanes);
    cd_pair dc, dz;
    for (int half = 0; half < 2; half++) {
      cd plain = {}, weighted = {};
      for (int64_t part = 0; part < kernel.pieces(); part++) {
        const Moments &m = all[(part * kernel.blocks() + block) * kernel.N + n];
        plain = plain + m.plain.half[half];
        weighted = weighted + m.weighted.half[half];
      }
      // kernel[l] = Re(c e^((l - s) z))
      const vd shift = mode_of(kernel, z.half[half]).shift;
      dc.half[half] = conjugate(plain);
      dz.half[half] = conjugate(c.half[half] * (weighted - plain * shift));
    }
    if (g.dc) add_complex(g.dc + at, kernel.size(), dc, lanes);
    if (g.dz) add_complex(g.dz + at, kernel.size(), dz, lanes);
  }
}

}  // namespace

extern "C" int XL_KERNEL(xl_ssm_kernel_backward)(float *dc, float *dz, const float *dkernel, const float *c,
                                                 const float *z, int64_t L, int64_t N, int64_t D, int32_t anchored) {
  const Kernel kernel = {c, z, L, N, D, anchored != 0};
  if (int status = check_kernel("ssm_kernel_backward", kernel)) return status;
  if (L == 0 || N == 0 || D == 0) return XL_OK;
  const int64_t floats = (piece + 4 * R) * W;
  const int64_t shared = kernel.pieces() * kernel.blocks() * N * int64_t(sizeof(Moments) / sizeof(float));
  bool ready = true;
  for (int worker = 0; worker < xl::threads(); worker++) ready = ready && xl::scratch(worker, floats);
  Moments *all = ready ? reinterpret_cast<Moments *>(xl::shared_scratch(shared)) : nullptr;
  if (!all) return out_of_scratch("ssm_kernel_backward", shared);
  each_piece(kernel, [&](int64_t block, int64_t part, int64_t d, auto lanes, int worker) {
    float *g = xl::scratch(worker, floats), *powers = g + piece * W;
    const int64_t begin = part * piece, end = min_of(L, begin + piece), chunks = ceil_div(end - begin, 2 * R) * 2;
    for (int64_t l = 0; l < chunks * R; l++)
      store(g + l * W, begin + l < end ? lanes.load(dkernel + (begin + l) * D + d) : vf{});
    for (int64_t n = 0; n < N; n++)
      all[(part * kernel.blocks() + block) * N + n] =
          moments_of(kernel, g, powers, load_complex(z + n * D + d, kernel.size(), lanes), begin, chunks);
  });
  const KernelGradients gradients = {dc, dz};
  parallel_range(D, W, [&](int64_t d, int64_t, int) {
    if (d + W <= D) return finish_block(kernel, gradients, all, d / W, d, AllLanes{});
    finish_block(kernel, gradients, all, d / W, d, SomeLanes{D - d});
  });
  return XL_OK;
}

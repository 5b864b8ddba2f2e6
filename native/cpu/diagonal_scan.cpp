// The diagonal state-space recurrence with its state, h[t] = a h[t-1] + x[t], y[t] = skip x[t] + sum_n Re(c h[t]),
// a = e^z, forward and backward, chunk by chunk. Within a chunk that enters with the state h,
//   y[i] = sum_j K[j] x[i-j] + sum_n Re(c a^(i+1) h),  K[j] = sum_n Re(c a^j),
//   h'   = a^r h + sum_i a^(r-1-i) x[i],
// which needs no chain of steps and multiplies the state once per chunk, by a^r to 48 bits: so a memory of thousands of
// steps keeps its precision. Vectors run along the channels; a task is a sequence and a block of channels.
#include "chunks.h"
#include "complex_double.h"
#include "reduce.h"

using namespace XL_NS;

namespace {

constexpr int64_t most_steps = 8;  // of a chunk
constexpr int64_t pair = 2 * W;    // floats of a complex vector

struct Scan {
  const float *x, *c, *z, *skip, *state_in;
  const uint8_t *reset;
  int64_t B, T, N, D;
  int64_t R;        // steps of a chunk, at most
  float *tables;    // see Tables, per block of channels

  int64_t size() const { return N * D; }
  int64_t blocks() const { return ceil_div(D, W); }
  bool resets_at(int64_t b, int64_t t) const { return reset && reset[b * T + t]; }
  // Where the chunk that begins at t ends: after R steps, before a reset, or with the sequence.
  int64_t chunk_end(int64_t b, int64_t t) const {
    return stretch_end(reset, b, T, t, min_of(t + R, T));
  }
};

// What a block of channels needs: K [R], and for each mode a^i for i in 0..R, what rounding took from it, and c a^i.
struct Tables {
  float *taps, *modes;
  int64_t R;

  static int64_t floats(const Scan &scan) { return scan.R * W + scan.N * 3 * (scan.R + 1) * pair; }
  Tables(const Scan &scan, int64_t block)
      : taps(scan.tables + block * floats(scan)), modes(taps + scan.R * W), R(scan.R) {}

  float *power(int64_t n, int64_t i) const { return modes + ((n * 3 + 0) * (R + 1) + i) * pair; }
  float *rest(int64_t n, int64_t i) const { return modes + ((n * 3 + 1) * (R + 1) + i) * pair; }
  float *output(int64_t n, int64_t i) const { return modes + ((n * 3 + 2) * (R + 1) + i) * pair; }
};

XL_INLINE void store_pair(float *p, vf re, vf im) {
  store(p, re);
  store(p + W, im);
}

template <class Lanes>
void make_tables(const Scan &scan, const Tables &tables, int64_t d, Lanes lanes) {
  for (int64_t i = 0; i < scan.R; i++) store(tables.taps + i * W, vf{});
  for (int64_t n = 0; n < scan.N; n++) {
    const cd_pair z = load_complex(scan.z + n * scan.D + d, scan.size(), lanes);
    const cd_pair c = load_complex(scan.c + n * scan.D + d, scan.size(), lanes);
    cd_pair a, power = {{real_double(1), real_double(1)}};
    for (int half = 0; half < 2; half++) a.half[half] = exp_complex(z.half[half]);
    for (int64_t i = 0; i <= scan.R; i++) {
      const vf re = real_of(power), im = imaginary_of(power);
      cd_pair rest, out;
      for (int half = 0; half < 2; half++) {
        rest.half[half] = power.half[half] - cd{half_of(re, half), half_of(im, half)};
        out.half[half] = c.half[half] * power.half[half];
        power.half[half] = power.half[half] * a.half[half];
      }
      store_pair(tables.power(n, i), re, im);
      store_pair(tables.rest(n, i), real_of(rest), imaginary_of(rest));
      store_pair(tables.output(n, i), real_of(out), imaginary_of(out));
      if (i < scan.R) store(tables.taps + i * W, load(tables.taps + i * W) + real_of(out));
    }
  }
}

// Runs body(d, lanes) for the channels of a block.
template <class Body>
void with_lanes(const Scan &scan, int64_t block, const Body &body) {
  const int64_t d = block * W;
  if (d + W <= scan.D) return body(d, AllLanes{});
  body(d, SomeLanes{scan.D - d});
}

// The tables of all blocks; false when memory is exhausted.
bool prepare(Scan &scan) {
  scan.R = min_of(most_steps, max_of(1, scan.T));
  scan.tables = xl::shared_scratch(scan.blocks() * Tables::floats(scan), 0);
  if (!scan.tables) return false;
  parallel_for(scan.blocks(), [&](int64_t block, int) {
    with_lanes(scan, block, [&](int64_t d, auto lanes) { make_tables(scan, Tables(scan, block), d, lanes); });
  });
  return true;
}

// h of a block is [N] of real and imaginary vectors.
template <class Lanes>
void load_state(float *h, const float *state, const Scan &scan, Lanes lanes) {
  for (int64_t n = 0; n < scan.N; n++)
    store_pair(h + n * pair, state ? lanes.load(state + n * scan.D) : vf{},
               state ? lanes.load(state + scan.size() + n * scan.D) : vf{});
}

void clear_state(float *h, const Scan &scan) {
  for (int64_t n = 0; n < 2 * scan.N; n++) store(h + n * W, vf{});
}

// a^r v from the tables, in twice the precision of a float.
XL_INLINE void advance(vf &re, vf &im, const Tables &tables, int64_t n, int64_t r) {
  const float *power = tables.power(n, r), *rest = tables.rest(n, r);
  const vf a = load(power), b = load(power + W), c = load(rest), d = load(rest + W);
  const vf low_re = c * re - d * im, low_im = c * im + d * re;
  const vf next_re = a * re - b * im, next_im = a * im + b * re;
  re = next_re + low_re;
  im = next_im + low_im;
}

// The state after a chunk of r steps with the inputs xs.
XL_INLINE void step_state(float *h, const vf (&xs)[most_steps], int64_t r, const Tables &tables, int64_t n) {
  vf re = load(h), im = load(h + W);
  advance(re, im, tables, n, r);
  for (int64_t i = 0; i < r; i++) {
    const float *power = tables.power(n, r - 1 - i);
    re += load(power) * xs[i];
    im += load(power + W) * xs[i];
  }
  store_pair(h, re, im);
}

// ys[i] += Re(c a^(i+1) h) for all modes, and h becomes the state after the chunk. A whole chunk: STEPS = r; else 0.
template <int STEPS>
void scan_chunk(vf (&ys)[most_steps], float *h, const vf (&xs)[most_steps], int64_t r, const Scan &scan,
                const Tables &tables) {
  const int64_t steps = STEPS > 0 ? STEPS : r;
  vf sum[most_steps];
  for (int64_t i = 0; i < most_steps; i++) sum[i] = ys[i];
  for (int64_t n = 0; n < scan.N; n++) {
    const vf re = load(h + n * pair), im = load(h + n * pair + W);
    const float *out = tables.output(n, 1);
#pragma GCC unroll 8
    for (int64_t i = 0; i < steps; i++) sum[i] += load(out + i * pair) * re - load(out + i * pair + W) * im;
    step_state(h + n * pair, xs, steps, tables, n);
  }
  for (int64_t i = 0; i < most_steps; i++) ys[i] = sum[i];
}

int check_scan(const char *name, const Scan &scan) {
  if (scan.B < 0 || scan.T < 0 || scan.N < 0 || scan.D < 0)
    return xl::fail(XL_INVALID, "%s: sizes must not be negative, got B=%lld T=%lld N=%lld D=%lld", name,
                    (long long)scan.B, (long long)scan.T, (long long)scan.N, (long long)scan.D);
  return XL_OK;
}

template <class Lanes>
void scan_sequence(float *y, float *state_out, float *h, const Scan &scan, int64_t b, int64_t block, int64_t d,
                   Lanes lanes) {
  const Tables tables(scan, block);
  const int64_t D = scan.D, state = 2 * b * scan.size() + d;
  const vf skip = scan.skip ? lanes.load(scan.skip + d) : vf{};
  load_state(h, scan.state_in ? scan.state_in + state : nullptr, scan, lanes);
  for (int64_t t = 0, end; t < scan.T; t = end) {
    end = scan.chunk_end(b, t);
    if (scan.resets_at(b, t)) clear_state(h, scan);
    const int64_t r = end - t, at = (b * scan.T + t) * D + d;
    vf xs[most_steps] = {}, ys[most_steps] = {};
    for (int64_t i = 0; i < r; i++) xs[i] = lanes.load(scan.x + at + i * D);
    for (int64_t i = 0; i < r; i++) {
      ys[i] = skip * xs[i];
      for (int64_t j = 0; j <= i; j++) ys[i] += load(tables.taps + j * W) * xs[i - j];
    }
    if (r == most_steps)
      scan_chunk<most_steps>(ys, h, xs, r, scan, tables);
    else
      scan_chunk<0>(ys, h, xs, r, scan, tables);
    for (int64_t i = 0; i < r; i++) lanes.store(y + at + i * D, ys[i]);
  }
  for (int64_t n = 0; state_out && n < scan.N; n++) {
    lanes.store(state_out + state + n * D, load(h + n * pair));
    lanes.store(state_out + state + scan.size() + n * D, load(h + n * pair + W));
  }
}

}  // namespace

extern "C" int XL_KERNEL(xl_diagonal_scan_forward)(float *y, float *state_out, const float *x, const float *c,
                                                   const float *z, const float *skip, const float *state_in,
                                                   const uint8_t *reset, int64_t B, int64_t T, int64_t N, int64_t D) {
  Scan scan = {x, c, z, skip, state_in, reset, B, T, N, D, 0, nullptr};
  if (int status = check_scan("diagonal_scan_forward", scan)) return status;
  if (B == 0 || D == 0) return XL_OK;
  bool ready = prepare(scan);
  const int64_t floats = max_of(1, N) * pair;
  for (int worker = 0; worker < xl::threads(); worker++) ready = ready && xl::scratch(worker, floats);
  if (!ready) return out_of_scratch("diagonal_scan_forward", scan.blocks() * Tables::floats(scan));
  parallel_for(B * scan.blocks(), [&](int64_t task, int worker) {
    const int64_t block = task % scan.blocks();
    with_lanes(scan, block, [&](int64_t d, auto lanes) {
      scan_sequence(y, state_out, xl::scratch(worker, floats), scan, task / scan.blocks(), block, d, lanes);
    });
  });
  return XL_OK;
}

namespace {

struct Gradients {
  float *dx, *dstate_in;
  const float *dy, *dstate_out;
};

// Sums of one task: of dc and dz [N] of complex vectors each, and of dskip.
struct Sums {
  float *dc, *dz, *dskip;

  static int64_t floats(const Scan &scan) { return 2 * scan.N * pair + W; }
  Sums(const Scan &scan, float *all, int64_t task)
      : dc(all + task * floats(scan)), dz(dc + scan.N * pair), dskip(dz + scan.N * pair) {}
};

// Working space of a sequence: the state, its gradient, the states at which chunks begin, and where those are.
struct Space {
  float *h, *g, *borders;
  int64_t *begins;

  static int64_t floats(const Scan &scan) {
    return 2 * (scan.T + 1) + 2 * W + (2 + scan.T / scan.R + 1) * scan.N * pair;
  }
  Space(const Scan &scan, float *memory) {
    begins = reinterpret_cast<int64_t *>(memory);
    h = memory + ceil_div(2 * (scan.T + 1), W) * W;
    g = h + scan.N * pair;
    borders = g + scan.N * pair;
  }
};

struct ChunkData {
  vf x[most_steps], dy[most_steps], dx[most_steps];
  int64_t r;
};

// One mode over one chunk backwards: h is the state before it, g the gradient of the state after it and then of that
// before it.
XL_INLINE void mode_backward(ChunkData &chunk, const Sums &sums, const float *h, float *g, const Tables &tables,
                             int64_t n) {
  const int64_t r = chunk.r;
  const float *power = tables.power(n, 1), *weight = tables.output(n, 0);
  const vf a = load(power), b = load(power + W), c = load(weight), d = load(weight + W);
  vf hs[most_steps][2];  // a times the state before each step
  vf re = load(h), im = load(h + W);
  for (int64_t i = 0; i < r; i++) {
    hs[i][0] = a * re - b * im;
    hs[i][1] = a * im + b * re;
    re = hs[i][0] + chunk.x[i];
    im = hs[i][1];
  }
  vf dc_re = load(sums.dc + n * pair), dc_im = load(sums.dc + n * pair + W);
  vf dz_re = load(sums.dz + n * pair), dz_im = load(sums.dz + n * pair + W);
  vf g_re = load(g), g_im = load(g + W), sum_re = {}, sum_im = {};
  for (int64_t i = r - 1; i >= 0; i--) {
    const vf dy = chunk.dy[i];
    // y = Re(c h)
    dc_re += dy * (hs[i][0] + chunk.x[i]);
    dc_im -= dy * hs[i][1];
    g_re += dy * c;
    g_im -= dy * d;
    // h = a h' + x, a = e^z
    chunk.dx[i] += g_re;
    dz_re += g_re * hs[i][0] + g_im * hs[i][1];
    dz_im += g_im * hs[i][0] - g_re * hs[i][1];
    const vf next = g_re * a + g_im * b;
    g_im = g_im * a - g_re * b;
    g_re = next;
    const float *later = tables.output(n, i + 1);
    sum_re += dy * load(later);
    sum_im += dy * load(later + W);
  }
  // The same gradient again without the chain of steps, for the chunk before: conj(a^r) g + sum_i dy_i conj(c a^(i+1)).
  vf out_re = load(g), out_im = -load(g + W);
  advance(out_re, out_im, tables, n, r);
  store_pair(g, out_re + sum_re, -(out_im + sum_im));
  store_pair(sums.dc + n * pair, dc_re, dc_im);
  store_pair(sums.dz + n * pair, dz_re, dz_im);
}

// Forward over the sequence: where chunks begin, and the state there unless a reset empties it.
template <class Lanes>
int64_t find_borders(const Space &space, const Scan &scan, int64_t b, int64_t d, const Tables &tables, Lanes lanes) {
  int64_t chunks = 0, kept = 0;
  load_state(space.h, scan.state_in ? scan.state_in + 2 * b * scan.size() + d : nullptr, scan, lanes);
  for (int64_t t = 0, end; t < scan.T; t = end) {
    end = scan.chunk_end(b, t);
    space.begins[chunks++] = t;
    if (scan.resets_at(b, t)) {
      clear_state(space.h, scan);
    } else {
      float *border = space.borders + kept++ * scan.N * pair;
      for (int64_t k = 0; k < scan.N * pair; k += W) store(border + k, load(space.h + k));
    }
    vf xs[most_steps] = {};
    for (int64_t i = 0; i < end - t; i++) xs[i] = lanes.load(scan.x + (b * scan.T + t + i) * scan.D + d);
    for (int64_t n = 0; n < scan.N; n++) step_state(space.h + n * pair, xs, end - t, tables, n);
  }
  space.begins[chunks] = scan.T;
  return chunks;
}

template <class Lanes>
void backward_sequence(const Gradients &g, const Sums &sums, const Space &space, const Scan &scan, int64_t b,
                       int64_t block, int64_t d, Lanes lanes) {
  const Tables tables(scan, block);
  const int64_t D = scan.D, N = scan.N, state = 2 * b * scan.size() + d;
  const vf skip = scan.skip ? lanes.load(scan.skip + d) : vf{};
  const int64_t chunks = find_borders(space, scan, b, d, tables, lanes);
  int64_t kept = 0;
  for (int64_t k = 0; k < chunks; k++) kept += !scan.resets_at(b, space.begins[k]);
  load_state(space.g, g.dstate_out ? g.dstate_out + state : nullptr, scan, lanes);
  vf dskip = {};
  for (int64_t k = chunks - 1; k >= 0; k--) {
    const int64_t t = space.begins[k], at = (b * scan.T + t) * D + d;
    const bool fresh = scan.resets_at(b, t);
    if (fresh)
      clear_state(space.h, scan);
    else
      kept--;
    const float *before = fresh ? space.h : space.borders + kept * N * pair;
    ChunkData chunk;
    chunk.r = space.begins[k + 1] - t;
    for (int64_t i = 0; i < chunk.r; i++) {
      chunk.x[i] = lanes.load(scan.x + at + i * D);
      chunk.dy[i] = lanes.load(g.dy + at + i * D);
      chunk.dx[i] = skip * chunk.dy[i];
      dskip += chunk.x[i] * chunk.dy[i];
    }
    for (int64_t n = 0; n < N; n++) mode_backward(chunk, sums, before + n * pair, space.g + n * pair, tables, n);
    for (int64_t i = 0; g.dx && i < chunk.r; i++)
      lanes.store(g.dx + at + i * D, lanes.load(g.dx + at + i * D) + chunk.dx[i]);
    if (fresh) clear_state(space.g, scan);
  }
  store(sums.dskip, dskip);
  for (int64_t n = 0; g.dstate_in && n < N; n++) {
    float *re = g.dstate_in + state + n * D, *im = re + scan.size();
    lanes.store(re, lanes.load(re) + load(space.g + n * pair));
    lanes.store(im, lanes.load(im) + load(space.g + n * pair + W));
  }
}

}  // namespace

extern "C" int XL_KERNEL(xl_diagonal_scan_backward)(float *dx, float *dc, float *dz, float *dskip, float *dstate_in,
                                                    const float *dy, const float *dstate_out, const float *x,
                                                    const float *c, const float *z, const float *skip,
                                                    const float *state_in, const uint8_t *reset, int64_t B, int64_t T,
                                                    int64_t N, int64_t D) {
  Scan scan = {x, c, z, skip, state_in, reset, B, T, N, D, 0, nullptr};
  if (int status = check_scan("diagonal_scan_backward", scan)) return status;
  if (B == 0 || D == 0) return XL_OK;
  bool ready = prepare(scan);
  const int64_t blocks = scan.blocks(), own = Space::floats(scan), each = Sums::floats(scan);
  for (int worker = 0; worker < xl::threads(); worker++) ready = ready && xl::scratch(worker, own);
  float *all = ready ? xl::shared_scratch(B * blocks * each, 1) : nullptr;
  if (!all) return out_of_scratch("diagonal_scan_backward", B * blocks * each);
  const Gradients gradients = {dx, dstate_in, dy, dstate_out};
  parallel_for(B * blocks, [&](int64_t task, int worker) {
    const Sums sums(scan, all, task);
    for (int64_t k = 0; k < each; k += W) store(sums.dc + k, vf{});
    with_lanes(scan, task % blocks, [&](int64_t d, auto lanes) {
      backward_sequence(gradients, sums, Space(scan, xl::scratch(worker, own)), scan, task / blocks, task % blocks, d,
                        lanes);
    });
  });
  const auto add = [&](float *out, const float *from, int64_t block, auto lanes) {
    vf sum = {};
    for (int64_t b = 0; b < B; b++) sum += load(from + (b * blocks + block) * each);
    lanes.store(out, lanes.load(out) + sum);
  };
  parallel_for(blocks, [&](int64_t block, int) {
    with_lanes(scan, block, [&](int64_t d, auto lanes) {
      const Sums first(scan, all, 0);
      for (int64_t k = 0; k < 2 * N; k++) {
        const int64_t at = (k % 2) * scan.size() + (k / 2) * D + d;
        if (dc) add(dc + at, first.dc + k * W, block, lanes);
        if (dz) add(dz + at, first.dz + k * W, block, lanes);
      }
      if (dskip) add(dskip + d, first.dskip, block, lanes);
    });
  });
  return XL_OK;
}

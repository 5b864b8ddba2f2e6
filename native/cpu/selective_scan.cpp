// Selective scan of Mamba (arXiv 2312.00752 algorithm 2), forward and backward. Vectors run along the channels: B and C
// of a step are then numbers, the state of a channel needs no sum over lanes, and only the gradients of B and C do.
//
// Per (t, channel, n) the forward pass takes an exp and five operations. The states of all steps are never in memory at
// once: the backward pass walks chunks of STEPS steps from the last, and recomputes the states of a chunk, and its
// exps, from the state that the forward pass kept.
#include "channels.h"
#include "panels.h"
#include "vmath.h"

using namespace XL_NS;

namespace {

struct Scan {
  const float *u, *delta, *A /* [N,padded]: transposed */, *Bm, *C, *skip;
  const uint8_t *reset;
  int64_t B, T, D, N;

  int64_t padded() const { return round_up(D, BLOCK); }
  int64_t blocks() const { return channel_blocks(D); }
  int64_t chunks() const { return ceil_div(T, STEPS); }
  bool is_reset(int64_t b, int64_t t) const { return reset && reset[b * T + t]; }
  const float *rate(int64_t n, const Channels &at) const { return A + n * padded() + at.d; }
};

// The transposed A; NULL when there is no memory.
const float *transpose_rates(const float *A, const Scan &scan) {
  const int64_t D = scan.D, N = scan.N, padded = scan.padded();
  float *rates = xl::shared_scratch(N * padded, 0);
  if (!rates) return nullptr;
  fill_zero(rates, N * padded);
  for (int64_t d = 0; d < D; d++)
    for (int64_t n = 0; n < N; n++) rates[n * padded + d] = A[d * N + n];
  return rates;
}

int check_scan(const char *kernel, const Scan &s) {
  if (int status = check_channels(kernel, s.B, s.T, s.D)) return status;
  if (s.N >= 1) return XL_OK;
  return xl::fail(XL_INVALID, "%s: N must be positive, got %lld", kernel, (long long)s.N);
}

// h [N,BLOCK] of a state [B,D,N], or zero.
void read_state(float *h, const float *state, const Channels &at, int64_t N) {
  fill_zero(h, N * BLOCK);
  if (!state) return;
  for (int64_t d = at.d; d < min_of(at.D, at.d + BLOCK); d++)
    for (int64_t n = 0; n < N; n++) h[n * BLOCK + d - at.d] = state[(at.b * at.D + d) * N + n];
}

// state [B,D,N] = h [N,BLOCK], or += with `add`.
void write_state(float *state, const float *h, const Channels &at, int64_t N, bool add) {
  for (int64_t d = at.d; d < min_of(at.D, at.d + BLOCK); d++) {
    for (int64_t n = 0; n < N; n++) {
      float *to = state + (at.b * at.D + d) * N + n;
      *to = h[n * BLOCK + d - at.d] + (add ? *to : 0);
    }
  }
}

// The inputs of one step.
struct Inputs {
  vf u[VECTORS], delta[VECTORS], product[VECTORS] /* delta u */;
  const float *B, *C;

  XL_INLINE Inputs(const Scan &scan, const Channels &at, int64_t t)
      : B(scan.Bm + (at.b * scan.T + t) * scan.N), C(scan.C + (at.b * scan.T + t) * scan.N) {
    const int64_t row = (at.b * scan.T + t) * at.D;
    for (int v = 0; v < VECTORS; v++) {
      u[v] = at.load(scan.u + row, v);
      delta[v] = at.load(scan.delta + row, v);
      product[v] = delta[v] * u[v];
    }
  }
};

// What is kept of the state before a chunk: [B,chunks,N,D].
float *kept_row(float *saved, const Scan &scan, const Channels &at, int64_t chunk, int64_t n) {
  return saved + ((at.b * scan.chunks() + chunk) * scan.N + n) * scan.D;
}

void forward_block(float *y, float *saved, float *h, const Scan &scan, const Channels &at) {
  const int64_t N = scan.N;
  for (int64_t t = 0; t < scan.T; t++) {
    if (scan.is_reset(at.b, t)) fill_zero(h, N * BLOCK);
    for (int64_t n = 0; saved && t % STEPS == 0 && n < N; n++)
      for (int v = 0; v < VECTORS; v++)
        at.store(kept_row(saved, scan, at, t / STEPS, n), v, load(h + n * BLOCK + v * W));
    const Inputs in(scan, at, t);
    vf sum[VECTORS];
    for (int v = 0; v < VECTORS; v++) sum[v] = scan.skip ? at.load(scan.skip, v) * in.u[v] : vf{};
    for (int64_t n = 0; n < N; n++) {
      const float *rate = scan.rate(n, at);
      for (int v = 0; v < VECTORS; v++) {
        float *state = h + n * BLOCK + v * W;
        const vf next = vexp(in.delta[v] * load(rate + v * W)) * load(state) + in.product[v] * in.B[n];
        store(state, next);
        sum[v] += next * in.C[n];
      }
    }
    for (int v = 0; v < VECTORS; v++) at.store(y + (at.b * scan.T + t) * at.D, v, sum[v]);
  }
}

}  // namespace

extern "C" int XL_KERNEL(xl_selective_scan_forward)(float *y, float *state_out, float *saved, const float *u,
                                                    const float *delta, const float *A, const float *Bm,
                                                    const float *C, const float *skip, const float *state_in,
                                                    const uint8_t *reset, int64_t B, int64_t T, int64_t D, int64_t N) {
  Scan scan = {u, delta, nullptr, Bm, C, skip, reset, B, T, D, N};
  if (int status = check_scan("selective_scan_forward", scan)) return status;
  scan.A = transpose_rates(A, scan);
  if (!scan.A || !reserve_scratch(N * BLOCK)) return out_of_scratch("selective_scan_forward", N * scan.padded());
  parallel_for(B * scan.blocks(), [&](int64_t task, int worker) {
    const Channels at = {task / scan.blocks(), task % scan.blocks() * BLOCK, D};
    float *h = xl::scratch(worker, N * BLOCK);
    read_state(h, state_in, at, N);
    forward_block(y, saved, h, scan, at);
    if (state_out) write_state(state_out, h, at, N, false);
  });
  return XL_OK;
}

namespace {

struct ScanGradients {
  float *du, *ddelta, *dstate_in;
  const float *dy, *dstate_out, *saved;
};

// Sums of one task, which other tasks' are added to afterwards: [T,N] of B and of C over its channels, [N,padded] of A
// and [padded] of skip over the steps of its row of the batch.
struct Sums {
  float *dB, *dC, *dA, *dskip;
};

// Working memory of a task, in the scratch of its worker.
struct Chunk {
  float *before;  // [STEPS,N,BLOCK]: the state that a step decays
  float *decay;   // [STEPS,N,BLOCK]: exp(delta A), or 0 where a reset cut it
  float *dh;      // [N,BLOCK]: gradient of the state that the steps so far read
  float *lanes;   // [2,width,W]: gradients of B and C of a step before their sum over the lanes
  float *sums;    // [2,width]

  static int64_t width(int64_t N) { return round_up(N, W); }
  static int64_t floats(int64_t N) { return (2 * STEPS + 1) * N * BLOCK + 2 * width(N) * (W + 1); }
  Chunk(float *scratch, int64_t N)
      : before(scratch), decay(before + STEPS * N * BLOCK), dh(decay + STEPS * N * BLOCK), lanes(dh + N * BLOCK),
        sums(lanes + 2 * width(N) * W) {}
};

// Fills chunk.before and chunk.decay for steps begin..end-1.
void recompute(const Chunk &chunk, float *saved, const Scan &scan, const Channels &at, int64_t begin, int64_t end) {
  const int64_t N = scan.N;
  for (int64_t n = 0; n < N; n++)
    for (int v = 0; v < VECTORS; v++)
      store(chunk.before + n * BLOCK + v * W, at.load(kept_row(saved, scan, at, begin / STEPS, n), v));
  for (int64_t t = begin; t < end; t++) {
    const Inputs in(scan, at, t);
    float *before = chunk.before + (t - begin) * N * BLOCK, *decays = chunk.decay + (t - begin) * N * BLOCK;
    const bool is_reset = scan.is_reset(at.b, t), is_last = t + 1 == end;
    if (is_reset) fill_zero(before, N * BLOCK);
    for (int64_t n = 0; n < N; n++) {
      const float *rate = scan.rate(n, at);
      for (int v = 0; v < VECTORS; v++) {
        const int64_t place = n * BLOCK + v * W;
        const vf decay = is_reset ? vf{} : vexp(in.delta[v] * load(rate + v * W));
        store(decays + place, decay);
        if (!is_last) store(before + N * BLOCK + place, decay * load(before + place) + in.product[v] * in.B[n]);
      }
    }
  }
}

// Gradients of one step for every channel, summed over n.
struct StepGradient {
  vf dy[VECTORS], dproduct[VECTORS], ddelta[VECTORS];
};

// h = decay h' + product B;  y += C h;  decay = exp(delta A).
void step_gradient(StepGradient &g, const Chunk &chunk, int64_t step, const Inputs &in, const Sums &sums,
                   const Scan &scan, const Channels &at) {
  const int64_t N = scan.N, width = Chunk::width(N);
  for (int64_t n = 0; n < N; n++) {
    const float *before = chunk.before + (step * N + n) * BLOCK, *decays = chunk.decay + (step * N + n) * BLOCK;
    const float *rate = scan.rate(n, at);
    float *dh = chunk.dh + n * BLOCK, *dA = sums.dA + n * scan.padded() + at.d;
    vf dB = {}, dC = {};
    for (int v = 0; v < VECTORS; v++) {
      const vf decay = load(decays + v * W), decayed = decay * load(before + v * W);
      const vf total = load(dh + v * W) + g.dy[v] * in.C[n], dexponent = total * decayed;
      dC += g.dy[v] * (decayed + in.product[v] * in.B[n]);
      dB += total * in.product[v];
      g.dproduct[v] += total * in.B[n];
      g.ddelta[v] += dexponent * load(rate + v * W);
      store(dA + v * W, load(dA + v * W) + dexponent * in.delta[v]);
      store(dh + v * W, total * decay);
    }
    store(chunk.lanes + n * W, dB);
    store(chunk.lanes + (width + n) * W, dC);
  }
  sum_lanes(chunk.sums, chunk.lanes, 2 * width);
}

// Adds chunk.sums to step t of the sums of the task.
void add_sums(const Sums &sums, const Chunk &chunk, int64_t t, int64_t N) {
  float *dB = sums.dB + t * N, *dC = sums.dC + t * N;
  const float *dB_step = chunk.sums, *dC_step = chunk.sums + Chunk::width(N);
  for_lanes(0, N, [=](int64_t n, auto lanes) {
    lanes.store(dB + n, lanes.load(dB + n) + lanes.load(dB_step + n));
    lanes.store(dC + n, lanes.load(dC + n) + lanes.load(dC_step + n));
  });
}

void backward_block(const ScanGradients &to, const Chunk &chunk, const Sums &sums, const Scan &scan,
                    const Channels &at) {
  read_state(chunk.dh, to.dstate_out, at, scan.N);
  for (int64_t begin = (scan.chunks() - 1) * STEPS; begin >= 0; begin -= STEPS) {
    const int64_t end = min_of(scan.T, begin + STEPS);
    recompute(chunk, const_cast<float *>(to.saved), scan, at, begin, end);
    for (int64_t t = end - 1; t >= begin; t--) {
      const int64_t row = (at.b * scan.T + t) * at.D;
      const Inputs in(scan, at, t);
      StepGradient g = {};
      for (int v = 0; v < VECTORS; v++) g.dy[v] = at.load(to.dy + row, v);
      step_gradient(g, chunk, t - begin, in, sums, scan, at);
      add_sums(sums, chunk, t, scan.N);
      // product = delta u;  y += skip u
      for (int v = 0; v < VECTORS; v++) {
        const vf skip = scan.skip ? at.load(scan.skip, v) : vf{};
        at.add(to.du + row, v, g.dproduct[v] * in.delta[v] + g.dy[v] * skip);
        at.add(to.ddelta + row, v, g.dproduct[v] * in.u[v] + g.ddelta[v]);
        float *dskip = sums.dskip + at.d + v * W;
        store(dskip, load(dskip) + g.dy[v] * in.u[v]);
      }
    }
  }
  if (to.dstate_in) write_state(to.dstate_in, chunk.dh, at, scan.N, true);
}

// The working memory of all tasks together. A task takes `span` blocks of channels of one row of the batch, so that the
// gradients of B and C are summed over at most 64 tasks, or as many as the batch has rows.
struct Partials {
  int64_t span, groups;       // blocks of a task; tasks of a row of the batch
  int64_t steps, rates;       // floats of dB or of dC of a task; floats of dA and dskip of a row of the batch
  float *dB = nullptr, *dC = nullptr, *dA = nullptr;

  explicit Partials(const Scan &s)
      : span(ceil_div(s.blocks(), ceil_div(64, max_of(s.B, 1)))), groups(ceil_div(s.blocks(), span)),
        steps(s.T * s.N), rates((s.N + 1) * s.padded()) {}

  int64_t floats(int64_t B) const { return 2 * B * groups * steps + B * rates; }
  bool allocate(int64_t B) {
    dB = xl::shared_scratch(floats(B), 1);
    if (!dB) return false;
    dC = dB + B * groups * steps;
    dA = dC + B * groups * steps;
    parallel_lanes(floats(B), memory_grain, [this](int64_t e, auto lanes) { lanes.store(dB + e, vf{}); });
    return true;
  }
};

}  // namespace

extern "C" int XL_KERNEL(xl_selective_scan_backward)(float *du, float *ddelta, float *dA, float *dBm, float *dC,
                                                     float *dskip, float *dstate_in, const float *dy,
                                                     const float *dstate_out, const float *saved, const float *u,
                                                     const float *delta, const float *A, const float *Bm,
                                                     const float *C, const float *skip, const float *,
                                                     const uint8_t *reset, int64_t B, int64_t T, int64_t D, int64_t N) {
  Scan scan = {u, delta, nullptr, Bm, C, skip, reset, B, T, D, N};
  if (int status = check_scan("selective_scan_backward", scan)) return status;
  if (B == 0) return XL_OK;
  scan.A = transpose_rates(A, scan);
  Partials p(scan);
  if (!scan.A || !p.allocate(B) || !reserve_scratch(Chunk::floats(N)))
    return out_of_scratch("selective_scan_backward", p.floats(B));
  const ScanGradients gradients = {du, ddelta, dstate_in, dy, dstate_out, saved};
  parallel_for(B * p.groups, [&](int64_t task, int worker) {
    const int64_t b = task / p.groups, first = task % p.groups * p.span;
    const Chunk chunk(xl::scratch(worker, Chunk::floats(N)), N);
    fill_zero(chunk.lanes, 2 * Chunk::width(N) * W);
    float *rates = p.dA + b * p.rates;
    const Sums sums = {p.dB + task * p.steps, p.dC + task * p.steps, rates, rates + N * scan.padded()};
    for (int64_t block = first; block < min_of(scan.blocks(), first + p.span); block++)
      backward_block(gradients, chunk, sums, scan, {b, block * BLOCK, D});
  });
  for (int64_t b = 0; b < B; b++) {
    add_partials(dBm + b * p.steps, p.dB + b * p.groups * p.steps, p.groups, p.steps, p.steps);
    add_partials(dC + b * p.steps, p.dC + b * p.groups * p.steps, p.groups, p.steps, p.steps);
  }
  if (B > 1) add_partials(p.dA, p.dA + p.rates, B - 1, p.rates, p.rates);
  for (int64_t d = 0; dA && d < D; d++)
    for (int64_t n = 0; n < N; n++) dA[d * N + n] += p.dA[n * scan.padded() + d];
  for (int64_t d = 0; dskip && d < D; d++) dskip[d] += p.dA[N * scan.padded() + d];
  return XL_OK;
}

// S4 as a recurrence over time, forward and backward; the recurrence itself is in s4_steps.h. Memories reach over
// thousands of steps, so all of it is in double. Vectors run along the channels, half a vector of floats at a time, so
// that what a step reads stays in the L1 cache; a mode costs a dozen multiply-adds per step, no more than a term of the
// generating function.
#include "reduce.h"
#include "s4_steps.h"

using namespace XL_NS;

namespace {

constexpr int64_t segment = 8;  // steps between the states that the backward pass keeps
constexpr int64_t least_tasks = 16;

struct Scan {
  S4Model model;
  const float *x, *skip, *state_in;
  const uint8_t *reset;
  int64_t B, T;

  int64_t blocks() const { return ceil_div(model.D, W); }
  bool resets_at(int64_t b, int64_t t) const { return reset && reset[b * T + t]; }
  // Groups of sequences whose gradients are summed together, by sizes alone, and their first sequences.
  int64_t groups() const { return max_of(1, min_of(B, ceil_div(least_tasks, blocks()))); }
  int64_t begin(int64_t group) const { return group * B / groups(); }
};

// S(q, h)
XL_INLINE vd project(const S4Step *steps, const cd *h, int64_t N) {
  vd sum = {};
  for (int64_t n = 0; n < N; n++) sum += re_of(steps[n].q * h[n]);
  return sum;
}

// next = the state after a step with the input x; next may be h. s is S(q, h) and becomes that of next. Returns y.
template <bool READ>
XL_INLINE vd advance(cd *next, const cd *h, const S4Step *steps, vd &s, vd x, int64_t N) {
  // Sums of two kinds each, which do not wait for each other.
  vd after[2] = {}, y[2] = {};
  const vd before = s;
  const auto mode = [&](int64_t n, int kind) {
    const cd value = steps[n].a * h[n] - steps[n].p * before + steps[n].b * x;
    next[n] = value;
    after[kind] += re_of(steps[n].q * value);
    if (READ) y[kind] += re_of(steps[n].C * value);
  };
  int64_t n = 0;
  for (; n + 2 <= N; n += 2) {
    mode(n, 0);
    mode(n + 1, 1);
  }
  if (n < N) mode(n, 0);
  s = after[0] + after[1];
  return y[0] + y[1];
}

template <class Half>
void load_state(cd *h, const float *state, const S4Model &model, Half half) {
  for (int64_t n = 0; n < model.N; n++) h[n] = state ? half.load(state + n * model.D, model.size()) : cd{};
}

void clear(cd *h, int64_t N) {
  for (int64_t n = 0; n < N; n++) h[n] = cd{};
}

template <class Half>
void scan_sequence(float *y, float *state_out, cd *h, const S4Step *steps, const Scan &scan, int64_t b, int64_t d,
                   Half half) {
  const S4Model &model = scan.model;
  const int64_t N = model.N, D = model.D, state = 2 * b * model.size() + d;
  const vd skip = scan.skip ? half.load(scan.skip + d) : vd{};
  load_state(h, scan.state_in ? scan.state_in + state : nullptr, model, half);
  vd s = project(steps, h, N);
  for (int64_t t = 0; t < scan.T; t++) {
    const int64_t at = (b * scan.T + t) * D + d;
    if (scan.resets_at(b, t)) {
      clear(h, N);
      s = vd{};
    }
    const vd x = half.load(scan.x + at);
    half.store(y + at, advance<true>(h, h, steps, s, x, N) + skip * x);
  }
  for (int64_t n = 0; state_out && n < N; n++) {
    half.store(state_out + state + n * D, h[n].re);
    half.store(state_out + state + model.size() + n * D, h[n].im);
  }
}

int check_scan(const char *name, const Scan &scan) {
  if (scan.B < 0 || scan.T < 0 || scan.model.N < 0 || scan.model.D < 0)
    return xl::fail(XL_INVALID, "%s: sizes must not be negative, got B=%lld T=%lld N=%lld D=%lld", name,
                    (long long)scan.B, (long long)scan.T, (long long)scan.model.N, (long long)scan.model.D);
  return XL_OK;
}

// Runs body(d, half) for both halves of a block of W channels, one after the other.
template <class Body>
void with_halves(const Scan &scan, int64_t block, const Body &body) {
  const int64_t d = block * W;
  for (int half = 0; half < 2; half++) {
    if (d + W <= scan.model.D)
      body(d, HalfLanes<AllLanes>{{}, half});
    else
      body(d, HalfLanes<SomeLanes>{{scan.model.D - d}, half});
  }
}

constexpr int64_t floats_of(int64_t bytes) { return bytes / int64_t(sizeof(float)); }

}  // namespace

extern "C" int XL_KERNEL(xl_s4_scan_forward)(float *y, float *state_out, const float *x, const float *A, const float *P,
                                             const float *Bm, const float *C, const float *log_dt, const float *skip,
                                             const float *state_in, const uint8_t *reset, int64_t B, int64_t T,
                                             int64_t N, int64_t D) {
  const Scan scan = {{A, P, Bm, C, log_dt, N, D}, x, skip, state_in, reset, B, T};
  if (int status = check_scan("s4_scan_forward", scan)) return status;
  if (B == 0 || D == 0) return XL_OK;
  const int64_t floats = max_of(1, N) * floats_of(sizeof(S4Step) + sizeof(cd));
  for (int worker = 0; worker < xl::threads(); worker++)
    if (!xl::scratch(worker, floats)) return out_of_scratch("s4_scan_forward", floats);
  parallel_for(scan.groups() * scan.blocks(), [&](int64_t task, int worker) {
    S4Step *steps = reinterpret_cast<S4Step *>(xl::scratch(worker, floats));
    cd *h = reinterpret_cast<cd *>(steps + N);
    const int64_t group = task / scan.blocks();
    with_halves(scan, task % scan.blocks(), [&](int64_t d, auto half) {
      discretize(steps, scan.model, d, half);
      for (int64_t b = scan.begin(group); b < scan.begin(group + 1); b++)
        scan_sequence(y, state_out, h, steps, scan, b, d, half);
    });
  });
  return XL_OK;
}

namespace {

struct Gradients {
  float *dx, *dskip, *dstate_in;
  const float *dy, *dstate_out;
};

// What a segment of steps keeps for the sums over its steps; S is S(q, h) before a step, dS its gradient.
struct Kept {
  vd x, dy, S, dS;
  const cd *before;
};

// Working space: the recurrence and the gradients of its numbers; states, and of a segment those after each step with
// their gradients.
struct Space {
  S4Step *steps, *sums;
  cd *h, *g, *zeros, *borders, *after, *dafter;
  Kept *kept;

  static int64_t floats(const Scan &scan) {
    const int64_t states = 3 + (scan.T / segment + 1) + 2 * segment;
    return segment * floats_of(sizeof(Kept)) +
           scan.model.N * floats_of(int64_t(sizeof(S4Step)) + states * int64_t(sizeof(cd)));
  }
  Space(const Scan &scan, float *memory, S4Step *sums) : sums(sums) {
    const int64_t N = scan.model.N;
    kept = reinterpret_cast<Kept *>(memory);
    steps = reinterpret_cast<S4Step *>(kept + segment);
    h = reinterpret_cast<cd *>(steps + N);
    g = h + N;
    zeros = g + N;
    after = zeros + N;
    dafter = after + segment * N;
    borders = dafter + segment * N;
    clear(zeros, N);
  }
};

// Adds dy's share to g, the gradient of the state after a step; returns the gradient of S. `dx` receives that of x.
XL_INLINE vd enter_step(cd *g, const S4Step *steps, vd dy, vd &dx, int64_t N) {
  vd onto_p = {}, onto_b = {};
  for (int64_t n = 0; n < N; n++) {
    // y = Re sum C h';  h' = a h - p S + b x
    const cd value = g[n] + conjugate(steps[n].C) * dy;
    g[n] = value;
    onto_p += re_of(value * conjugate(steps[n].p));
    onto_b += re_of(value * conjugate(steps[n].b));
  }
  dx = onto_b;
  return -onto_p;
}

// The gradient of the state before a step from that after it, S = Re sum q h.
XL_INLINE void leave_step(cd *before, const cd *after, const S4Step *steps, vd dS, int64_t N) {
  for (int64_t n = 0; n < N; n++)
    before[n] = after[n] * conjugate(steps[n].a) + conjugate(steps[n].q) * dS;
}

// Adds what the steps of a segment give to the gradients of the recurrence.
void add_steps(const Space &space, int64_t steps, int64_t N) {
  for (int64_t n = 0; n < N; n++) {
    S4Step sum = space.sums[n];
    for (int64_t i = 0; i < steps; i++) {
      const Kept &kept = space.kept[i];
      const cd g = space.dafter[i * N + n], before = conjugate(kept.before[n]);
      sum.C = sum.C + conjugate(space.after[i * N + n]) * kept.dy;
      sum.b = sum.b + g * kept.x;
      sum.a = sum.a + g * before;
      sum.p = sum.p - g * kept.S;
      sum.q = sum.q + before * kept.dS;
    }
    space.sums[n] = sum;
  }
}

// The steps of a segment forwards again, from the state at its begin: what `kept` and `after` hold.
template <class Half>
void replay_segment(const Gradients &g, const Space &space, const Scan &scan, int64_t b, int64_t begin, int64_t steps,
                    int64_t d, Half half) {
  const int64_t N = scan.model.N, D = scan.model.D;
  const cd *h = space.borders + begin / segment * N;
  vd s = project(space.steps, h, N);
  for (int64_t i = 0; i < steps; i++) {
    const int64_t at = (b * scan.T + begin + i) * D + d;
    if (scan.resets_at(b, begin + i)) {
      h = space.zeros;
      s = vd{};
    }
    space.kept[i] = Kept{half.load(scan.x + at), half.load(g.dy + at), s, vd{}, h};
    advance<false>(space.after + i * N, h, space.steps, s, space.kept[i].x, N);
    h = space.after + i * N;
  }
}

// The states at the begins of segments.
template <class Half>
void find_borders(const Space &space, const Scan &scan, int64_t b, int64_t d, Half half) {
  const int64_t N = scan.model.N, state = 2 * b * scan.model.size() + d;
  load_state(space.h, scan.state_in ? scan.state_in + state : nullptr, scan.model, half);
  vd s = project(space.steps, space.h, N);
  for (int64_t t = 0; t < scan.T; t++) {
    if (t % segment == 0)
      for (int64_t n = 0; n < N; n++) space.borders[t / segment * N + n] = space.h[n];
    if (scan.resets_at(b, t)) {
      clear(space.h, N);
      s = vd{};
    }
    const vd x = half.load(scan.x + (b * scan.T + t) * scan.model.D + d);
    advance<false>(space.h, space.h, space.steps, s, x, N);
  }
}

// Returns the gradient of skip.
template <class Half>
vd backward_sequence(const Gradients &g, const Space &space, const Scan &scan, int64_t b, int64_t d, Half half) {
  const S4Model &model = scan.model;
  const int64_t N = model.N, D = model.D, state = 2 * b * model.size() + d;
  const vd skip = scan.skip ? half.load(scan.skip + d) : vd{};
  find_borders(space, scan, b, d, half);
  load_state(space.g, g.dstate_out ? g.dstate_out + state : nullptr, model, half);
  vd dskip = {};
  for (int64_t part = ceil_div(scan.T, segment) - 1; part >= 0; part--) {
    const int64_t begin = part * segment, steps = min_of(segment, scan.T - begin);
    replay_segment(g, space, scan, b, begin, steps, d, half);
    cd *own = space.dafter + (steps - 1) * N;
    for (int64_t n = 0; n < N; n++) own[n] = space.g[n];
    for (int64_t i = steps - 1; i >= 0; i--) {
      Kept &kept = space.kept[i];
      own = space.dafter + i * N;
      vd dx;
      kept.dS = enter_step(own, space.steps, kept.dy, dx, N);
      cd *before = i > 0 ? own - N : space.g;
      if (scan.resets_at(b, begin + i))
        clear(before, N);
      else
        leave_step(before, own, space.steps, kept.dS, N);
      dskip += kept.dy * kept.x;
      if (g.dx) half.add(g.dx + (b * scan.T + begin + i) * D + d, dx + skip * kept.dy);
    }
    add_steps(space, steps, N);
  }
  for (int64_t n = 0; g.dstate_in && n < N; n++) half.add(g.dstate_in + state + n * D, model.size(), space.g[n]);
  return dskip;
}

}  // namespace

extern "C" int XL_KERNEL(xl_s4_scan_backward)(float *dx, float *dA, float *dP, float *dBm, float *dC, float *dlog_dt,
                                              float *dskip, float *dstate_in, const float *dy, const float *dstate_out,
                                              const float *x, const float *A, const float *P, const float *Bm,
                                              const float *C, const float *log_dt, const float *skip,
                                              const float *state_in, const uint8_t *reset, int64_t B, int64_t T,
                                              int64_t N, int64_t D) {
  const Scan scan = {{A, P, Bm, C, log_dt, N, D}, x, skip, state_in, reset, B, T};
  if (int status = check_scan("s4_scan_backward", scan)) return status;
  if (B == 0 || D == 0) return XL_OK;
  const int64_t groups = scan.groups(), blocks = scan.blocks(), own = Space::floats(scan);
  // Of each task and half: the sums of its modes and of the gradient of skip, whose place is that of a step.
  const int64_t each = 2 * (N + 1);
  bool ready = true;
  for (int worker = 0; worker < xl::threads(); worker++) ready = ready && xl::scratch(worker, own);
  float *memory = ready ? xl::shared_scratch(groups * blocks * each * floats_of(sizeof(S4Step))) : nullptr;
  if (!memory) return out_of_scratch("s4_scan_backward", groups * blocks * each * floats_of(sizeof(S4Step)));
  S4Step *all = reinterpret_cast<S4Step *>(memory);
  const Gradients gradients = {dx, dskip, dstate_in, dy, dstate_out};
  const S4Gradients parameters = {dA, dP, dBm, dC, dlog_dt};
  parallel_for(groups * blocks, [&](int64_t task, int worker) {
    const int64_t group = task / blocks;
    with_halves(scan, task % blocks, [&](int64_t d, auto half) {
      S4Step *sums = all + task * each + half.half * (N + 1);
      for (int64_t n = 0; n <= N; n++) sums[n] = S4Step{};
      const Space space(scan, xl::scratch(worker, own), sums);
      discretize(space.steps, scan.model, d, half);
      for (int64_t b = scan.begin(group); b < scan.begin(group + 1); b++)
        sums[N].a.re += backward_sequence(gradients, space, scan, b, d, half);
    });
  });
  parallel_for(blocks, [&](int64_t block, int worker) {
    vd *to = reinterpret_cast<vd *>(all + block * each);
    for (int64_t group = 1; group < groups; group++) {
      const vd *from = reinterpret_cast<const vd *>(all + (group * blocks + block) * each);
      for (int64_t k = 0; k < each * int64_t(sizeof(S4Step) / sizeof(vd)); k++) to[k] += from[k];
    }
    with_halves(scan, block, [&](int64_t d, auto half) {
      S4Step *sums = all + block * each + half.half * (N + 1);
      S4Step *steps = reinterpret_cast<S4Step *>(xl::scratch(worker, own));
      if (dskip) half.add(dskip + d, sums[N].a.re);
      const S4Shared shared = discretize(steps, scan.model, d, half);
      pull_back(parameters, sums, steps, shared, scan.model, d, half);
    });
  });
  return XL_OK;
}

// S4 as a recurrence over time, forward and backward. Its matrix is diagonal plus rank one, and so is that of a step:
//   h[t] = a h[t-1] - p S(q, h[t-1]) + b x[t],  y[t] = skip x[t] + S(C, h[t]),  S(u, v) = 2 Re sum_n u_n v_n
// (see the reference for a, p, q, b). Memories reach over thousands of steps, so all of it is in double. Vectors run
// along the channels, and a mode costs a dozen multiply-adds per step, no more than a term of the generating function.
#include "complex_double.h"
#include "reduce.h"

using namespace XL_NS;

namespace {

constexpr int64_t segment = 16;  // steps between the states that the backward pass keeps
constexpr int64_t least_tasks = 16;

// W numbers in double as two halves.
struct vd_pair {
  vd half[2];
};

XL_INLINE vd_pair widen(vf v) { return {{half_of(v, 0), half_of(v, 1)}}; }
XL_INLINE vf narrow(const vd_pair &v) { return join(v.half[0], v.half[1]); }

struct Model {
  const float *A, *P, *Bm, *C, *log_dt;
  int64_t N, D;
  int64_t size() const { return N * D; }
};

struct Scan {
  Model model;
  const float *x, *skip, *state_in;
  const uint8_t *reset;
  int64_t B, T;

  int64_t blocks() const { return ceil_div(model.D, W); }
  bool resets_at(int64_t b, int64_t t) const { return reset && reset[b * T + t]; }
};

// A mode of the recurrence; C is doubled, so that y = Re sum C h, and q too.
struct Step {
  cd_pair a, p, q, b, C;
};

// What the discretisation of a channel block shares among its modes.
struct Shared {
  vd_pair dt, w, projection;
};

struct Mode {
  cd eigenvalue, P, Bm, C, g;  // g = 1 / (1 - dt Lambda / 2)
};

template <class Lanes>
XL_INLINE void load_mode(Mode (&modes)[2], const Model &model, int64_t n, int64_t d, const vd_pair &dt, Lanes lanes) {
  const int64_t at = n * model.D + d, size = model.size();
  const cd_pair A = load_complex(model.A + at, size, lanes), P = load_complex(model.P + at, size, lanes);
  const cd_pair Bm = load_complex(model.Bm + at, size, lanes), C = load_complex(model.C + at, size, lanes);
  for (int half = 0; half < 2; half++) {
    const cd eigenvalue = {-exp_double(A.half[half].re), A.half[half].im};
    const cd inverse = real_double(1) - eigenvalue * (dt.half[half] * 0.5);
    modes[half] = {eigenvalue, P.half[half], Bm.half[half], C.half[half],
                   conjugate(inverse) * (1.0 / square(inverse))};
  }
}

// The bilinear transform by Woodbury's identity (arXiv 2111.00396 eq. 3): steps [N].
template <class Lanes>
Shared discretize(Step *steps, const Model &model, int64_t d, Lanes lanes) {
  Shared shared = {};
  const vd_pair log_dt = widen(lanes.load(model.log_dt + d));
  for (int half = 0; half < 2; half++) shared.dt.half[half] = exp_double(log_dt.half[half]);
  for (int64_t n = 0; n < model.N; n++) {
    Mode modes[2];
    load_mode(modes, model, n, d, shared.dt, lanes);
    for (int half = 0; half < 2; half++) {
      const Mode &m = modes[half];
      const vd dt = shared.dt.half[half];
      steps[n].a.half[half] = m.g * (real_double(1) + m.eigenvalue * (dt * 0.5));
      steps[n].q.half[half] = m.g * conjugate(m.P) * 2.0;
      steps[n].p.half[half] = m.g * m.P * dt;
      steps[n].b.half[half] = m.g * m.Bm * dt;
      steps[n].C.half[half] = m.C * 2.0;
      shared.w.half[half] += square(m.P) * m.g.re * dt;
      shared.projection.half[half] += re_of(steps[n].q.half[half] * m.Bm);
    }
  }
  for (int half = 0; half < 2; half++) {
    shared.w.half[half] += 1.0;
    const vd inverse = 1.0 / shared.w.half[half];
    const vd factor = shared.projection.half[half] * shared.dt.half[half] * 0.5;
    for (int64_t n = 0; n < model.N; n++) {
      steps[n].p.half[half] = steps[n].p.half[half] * inverse;
      steps[n].b.half[half] = steps[n].b.half[half] - steps[n].p.half[half] * factor;
    }
  }
  return shared;
}

// S(q, h), by four sums so that they do not wait for each other.
XL_INLINE vd_pair project(const Step *steps, const cd_pair *h, int64_t N) {
  vd_pair even = {}, odd = {};
  int64_t n = 0;
  for (; n + 2 <= N; n += 2)
    for (int half = 0; half < 2; half++) {
      const cd q = steps[n].q.half[half], r = steps[n + 1].q.half[half];
      even.half[half] += q.re * h[n].half[half].re - q.im * h[n].half[half].im;
      odd.half[half] += r.re * h[n + 1].half[half].re - r.im * h[n + 1].half[half].im;
    }
  for (int half = 0; half < 2; half++) {
    if (n < N) even.half[half] += re_of(steps[n].q.half[half] * h[n].half[half]);
    even.half[half] += odd.half[half];
  }
  return even;
}

// next = the state after a step with the input x, s = S(q, h); next may be h.
XL_INLINE void advance(cd_pair *next, const cd_pair *h, const Step *steps, const vd_pair &s, const vd_pair &x,
                       int64_t N) {
  for (int64_t n = 0; n < N; n++)
    for (int half = 0; half < 2; half++)
      next[n].half[half] = steps[n].a.half[half] * h[n].half[half] - steps[n].p.half[half] * s.half[half] +
                           steps[n].b.half[half] * x.half[half];
}

XL_INLINE vd_pair read_out(const Step *steps, const cd_pair *h, int64_t N) {
  vd_pair even = {}, odd = {};
  for (int64_t n = 0; n < N; n++)
    for (int half = 0; half < 2; half++) {
      vd &sum = n % 2 ? odd.half[half] : even.half[half];
      sum += steps[n].C.half[half].re * h[n].half[half].re - steps[n].C.half[half].im * h[n].half[half].im;
    }
  return {{even.half[0] + odd.half[0], even.half[1] + odd.half[1]}};
}

template <class Lanes>
void load_state(cd_pair *h, const float *state, const Model &model, Lanes lanes) {
  for (int64_t n = 0; n < model.N; n++)
    h[n] = state ? load_complex(state + n * model.D, model.size(), lanes) : cd_pair{};
}

void clear(cd_pair *h, int64_t N) {
  for (int64_t n = 0; n < N; n++) h[n] = {};
}

template <class Lanes>
void scan_sequence(float *y, float *state_out, cd_pair *h, const Step *steps, const Scan &scan, int64_t b, int64_t d,
                   Lanes lanes) {
  const Model &model = scan.model;
  const int64_t N = model.N, D = model.D, state = 2 * b * model.size() + d;
  const vf skip = scan.skip ? lanes.load(scan.skip + d) : vf{};
  load_state(h, scan.state_in ? scan.state_in + state : nullptr, model, lanes);
  for (int64_t t = 0; t < scan.T; t++) {
    const int64_t at = (b * scan.T + t) * D + d;
    if (scan.resets_at(b, t)) clear(h, N);
    const vf x = lanes.load(scan.x + at);
    advance(h, h, steps, project(steps, h, N), widen(x), N);
    lanes.store(y + at, narrow(read_out(steps, h, N)) + skip * x);
  }
  for (int64_t n = 0; state_out && n < N; n++) {
    lanes.store(state_out + state + n * D, real_of(h[n]));
    lanes.store(state_out + state + model.size() + n * D, imaginary_of(h[n]));
  }
}

int check_scan(const char *name, const Scan &scan) {
  if (scan.B < 0 || scan.T < 0 || scan.model.N < 0 || scan.model.D < 0)
    return xl::fail(XL_INVALID, "%s: sizes must not be negative, got B=%lld T=%lld N=%lld D=%lld", name,
                    (long long)scan.B, (long long)scan.T, (long long)scan.model.N, (long long)scan.model.D);
  return XL_OK;
}

// Runs body(d, lanes) for the channels of a block.
template <class Body>
void with_lanes(const Scan &scan, int64_t block, const Body &body) {
  const int64_t d = block * W;
  if (d + W <= scan.model.D) return body(d, AllLanes{});
  body(d, SomeLanes{scan.model.D - d});
}

constexpr int64_t floats_of(int64_t bytes) { return bytes / int64_t(sizeof(float)); }

// Groups of sequences whose gradients are summed together, by sizes alone.
int64_t count_groups(const Scan &scan) { return max_of(1, min_of(scan.B, ceil_div(least_tasks, scan.blocks()))); }

// Sequences of a group: from begin(group) to begin(group + 1).
int64_t begin_of(const Scan &scan, int64_t group) { return group * scan.B / count_groups(scan); }

}  // namespace

extern "C" int XL_KERNEL(xl_s4_scan_forward)(float *y, float *state_out, const float *x, const float *A, const float *P,
                                             const float *Bm, const float *C, const float *log_dt, const float *skip,
                                             const float *state_in, const uint8_t *reset, int64_t B, int64_t T,
                                             int64_t N, int64_t D) {
  const Scan scan = {{A, P, Bm, C, log_dt, N, D}, x, skip, state_in, reset, B, T};
  if (int status = check_scan("s4_scan_forward", scan)) return status;
  if (B == 0 || D == 0) return XL_OK;
  const int64_t floats = max_of(1, N) * floats_of(sizeof(Step) + sizeof(cd_pair));
  for (int worker = 0; worker < xl::threads(); worker++)
    if (!xl::scratch(worker, floats)) return out_of_scratch("s4_scan_forward", floats);
  const int64_t groups = count_groups(scan);
  parallel_for(groups * scan.blocks(), [&](int64_t task, int worker) {
    Step *steps = reinterpret_cast<Step *>(xl::scratch(worker, floats));
    cd_pair *h = reinterpret_cast<cd_pair *>(steps + N);
    const int64_t group = task / scan.blocks();
    with_lanes(scan, task % scan.blocks(), [&](int64_t d, auto lanes) {
      discretize(steps, scan.model, d, lanes);
      for (int64_t b = begin_of(scan, group); b < begin_of(scan, group + 1); b++)
        scan_sequence(y, state_out, h, steps, scan, b, d, lanes);
    });
  });
  return XL_OK;
}

namespace {

struct Gradients {
  float *dx, *dA, *dP, *dBm, *dC, *dlog_dt, *dskip, *dstate_in;
  const float *dy, *dstate_out;
};

// Working space: the recurrence and the gradients of its numbers (of C and q doubled as well), states.
struct Space {
  Step *steps, *sums;
  cd_pair *h, *g, *borders, *inside;

  static int64_t floats(const Scan &scan) {
    const int64_t states = 2 + (scan.T / segment + 1) + (segment + 1);
    return scan.model.N * (floats_of(sizeof(Step)) + states * floats_of(sizeof(cd_pair)));
  }
  Space(const Scan &scan, float *memory, Step *sums) : sums(sums) {
    const int64_t N = scan.model.N;
    steps = reinterpret_cast<Step *>(memory);
    h = reinterpret_cast<cd_pair *>(steps + N);
    g = h + N;
    inside = g + N;
    borders = inside + (segment + 1) * N;
  }
};

// One step backwards: g is the gradient of the state `after` it and becomes that of the state `before` it.
XL_INLINE vd_pair step_backward(Step *sums, cd_pair *g, const Step *steps, const cd_pair *before, const cd_pair *after,
                                const vd_pair &dy, const vd_pair &x, int64_t N) {
  const vd_pair s = project(steps, before, N);
  vd_pair onto_p = {}, dx = {};
  for (int64_t n = 0; n < N; n++)
    for (int half = 0; half < 2; half++) {
      const vd d = dy.half[half];
      // y = Re sum C h'
      sums[n].C.half[half] = sums[n].C.half[half] + conjugate(after[n].half[half]) * d;
      const cd next = g[n].half[half] + conjugate(steps[n].C.half[half]) * d;
      g[n].half[half] = next;
      // h' = a h - p S + b x
      onto_p.half[half] += re_of(next * conjugate(steps[n].p.half[half]));
      dx.half[half] += re_of(next * conjugate(steps[n].b.half[half]));
      sums[n].b.half[half] = sums[n].b.half[half] + next * x.half[half];
      sums[n].a.half[half] = sums[n].a.half[half] + next * conjugate(before[n].half[half]);
      sums[n].p.half[half] = sums[n].p.half[half] - next * s.half[half];
    }
  for (int64_t n = 0; n < N; n++)
    for (int half = 0; half < 2; half++) {
      // S = Re sum q h
      const vd ds = -onto_p.half[half];
      sums[n].q.half[half] = sums[n].q.half[half] + conjugate(before[n].half[half]) * ds;
      g[n].half[half] = g[n].half[half] * conjugate(steps[n].a.half[half]) + conjugate(steps[n].q.half[half]) * ds;
    }
  return dx;
}

template <class Lanes>
vf backward_sequence(const Gradients &g, const Space &space, const Scan &scan, int64_t b, int64_t d, Lanes lanes) {
  const Model &model = scan.model;
  const int64_t N = model.N, D = model.D, state = 2 * b * model.size() + d, first = b * scan.T * D + d;
  const vf skip = scan.skip ? lanes.load(scan.skip + d) : vf{};
  const auto input = [&](int64_t t) { return widen(lanes.load(scan.x + first + t * D)); };
  const auto step = [&](cd_pair *next, cd_pair *h, int64_t t) {
    if (scan.resets_at(b, t)) clear(h, N);
    advance(next, h, space.steps, project(space.steps, h, N), input(t), N);
  };
  load_state(space.h, scan.state_in ? scan.state_in + state : nullptr, model, lanes);
  for (int64_t t = 0; t < scan.T; t++) {
    if (t % segment == 0)
      for (int64_t n = 0; n < N; n++) space.borders[t / segment * N + n] = space.h[n];
    step(space.h, space.h, t);
  }
  load_state(space.g, g.dstate_out ? g.dstate_out + state : nullptr, model, lanes);
  vf dskip = {};
  for (int64_t part = ceil_div(scan.T, segment) - 1; part >= 0; part--) {
    const int64_t begin = part * segment, steps = min_of(segment, scan.T - begin);
    for (int64_t n = 0; n < N; n++) space.inside[n] = space.borders[part * N + n];
    // A reset empties the state before its step; the one after the step before is needed too, and is made again below.
    for (int64_t i = 0; i < steps; i++) step(space.inside + (i + 1) * N, space.inside + i * N, begin + i);
    for (int64_t i = steps - 1; i >= 0; i--) {
      const int64_t t = begin + i;
      const vf dy = lanes.load(g.dy + first + t * D), x = lanes.load(scan.x + first + t * D);
      cd_pair *after = space.inside + (i + 1) * N, *before = space.inside + i * N;
      const bool fresh = scan.resets_at(b, t);
      if (i + 1 < steps && scan.resets_at(b, t + 1))
        advance(after, before, space.steps, project(space.steps, before, N), widen(x), N);
      const vd_pair dx = step_backward(space.sums, space.g, space.steps, before, after, widen(dy), widen(x), N);
      if (g.dx) {
        float *out = g.dx + first + t * D;
        lanes.store(out, lanes.load(out) + (narrow(dx) + skip * dy));
      }
      dskip += dy * x;
      if (fresh) clear(space.g, N);
    }
  }
  for (int64_t n = 0; g.dstate_in && n < N; n++)
    add_complex(g.dstate_in + state + n * D, model.size(), space.g[n], lanes);
  return dskip;
}

// What the gradients of the modes share: see `pullBack` of the reference.
struct SharedGradients {
  vd_pair projection, ratio, dw, ddt;
};

// First pass: sums over the modes. Turns the doubled gradients of q and C into those of the undoubled numbers.
template <class Lanes>
SharedGradients shared_gradients(Step *sums, const Step *steps, const Shared &shared, const Model &model, int64_t d,
                                 Lanes lanes) {
  SharedGradients out = {};
  vd_pair onto_p = {};
  for (int64_t n = 0; n < model.N; n++)
    for (int half = 0; half < 2; half++) {
      sums[n].C.half[half] = sums[n].C.half[half] * 2.0;
      sums[n].q.half[half] = sums[n].q.half[half] * 2.0;
      onto_p.half[half] += re_of(sums[n].b.half[half] * conjugate(steps[n].p.half[half]));
    }
  for (int64_t n = 0; n < model.N; n++) {
    Mode modes[2];
    load_mode(modes, model, n, d, shared.dt, lanes);
    for (int half = 0; half < 2; half++) {
      const Mode &m = modes[half];
      const vd dt = shared.dt.half[half];
      // b = dt G B - dt/2 projection p;  p = dt / w G P
      out.projection.half[half] = -0.5 * dt * onto_p.half[half];
      sums[n].p.half[half] = sums[n].p.half[half] - sums[n].b.half[half] * (0.5 * dt * shared.projection.half[half]);
      sums[n].q.half[half] = sums[n].q.half[half] + conjugate(m.Bm) * (2.0 * out.projection.half[half]);
      out.ratio.half[half] += re_of(sums[n].p.half[half] * conjugate(m.g * m.P));
      out.ddt.half[half] += re_of(sums[n].b.half[half] * conjugate(m.g * m.Bm));
    }
  }
  for (int half = 0; half < 2; half++) {
    const vd dt = shared.dt.half[half], w = shared.w.half[half], ratio = out.ratio.half[half];
    out.dw.half[half] = -ratio * dt / (w * w);
    out.ddt.half[half] += ratio / w + out.dw.half[half] * (w - 1.0) / dt -
                          0.5 * shared.projection.half[half] * onto_p.half[half];
  }
  return out;
}

// The gradients of the parameters of a block from those of its steps.
template <class Lanes>
void pull_back(const Gradients &g, Step *sums, const Step *steps, const Shared &shared, const Model &model, int64_t d,
               Lanes lanes) {
  SharedGradients all = shared_gradients(sums, steps, shared, model, d, lanes);
  for (int64_t n = 0; n < model.N; n++) {
    Mode modes[2];
    load_mode(modes, model, n, d, shared.dt, lanes);
    cd_pair dA, dP, dBm;
    for (int half = 0; half < 2; half++) {
      const Mode &m = modes[half];
      const vd dt = shared.dt.half[half], w = shared.w.half[half], dw = all.dw.half[half];
      const cd da = sums[n].a.half[half], dq = sums[n].q.half[half], db = sums[n].b.half[half];
      const cd dgP = sums[n].p.half[half] * (dt / w), q = steps[n].q.half[half] * 0.5;
      const cd top = real_double(1) + m.eigenvalue * (dt * 0.5);
      dBm.half[half] = db * conjugate(m.g) * dt + conjugate(q) * (2.0 * all.projection.half[half]);
      // a = g (1 + dt/2 Lambda);  q = g P*;  w = 1 + dt sum |P|^2 Re g
      dP.half[half] = dgP * conjugate(m.g) + conjugate(dq) * m.g + m.P * (2.0 * dw * dt * m.g.re);
      cd dg = da * conjugate(top) + dgP * conjugate(m.P) + dq * m.P + db * conjugate(m.Bm) * dt;
      dg.re += dw * dt * square(m.P);
      // g = 1 / (1 - z/2), z = dt Lambda
      const cd dz = (da * conjugate(m.g) + dg * conjugate(m.g * m.g)) * 0.5;
      all.ddt.half[half] += re_of(dz * conjugate(m.eigenvalue));
      dA.half[half] = {dz.re * dt * m.eigenvalue.re, dz.im * dt};
    }
    const int64_t at = n * model.D + d;
    if (g.dA) add_complex(g.dA + at, model.size(), dA, lanes);
    if (g.dP) add_complex(g.dP + at, model.size(), dP, lanes);
    if (g.dBm) add_complex(g.dBm + at, model.size(), dBm, lanes);
    if (g.dC) add_complex(g.dC + at, model.size(), sums[n].C, lanes);
  }
  if (!g.dlog_dt) return;
  for (int half = 0; half < 2; half++) all.ddt.half[half] *= shared.dt.half[half];
  lanes.store(g.dlog_dt + d, lanes.load(g.dlog_dt + d) + narrow(all.ddt));
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
  const int64_t groups = count_groups(scan), blocks = scan.blocks(), own = max_of(1, Space::floats(scan));
  // Of each task: the sums of its modes and of the gradient of skip.
  const int64_t each = N * floats_of(sizeof(Step)) + W;
  bool ready = true;
  for (int worker = 0; worker < xl::threads(); worker++) ready = ready && xl::scratch(worker, own);
  float *all = ready ? xl::shared_scratch(groups * blocks * each) : nullptr;
  if (!all) return out_of_scratch("s4_scan_backward", groups * blocks * each);
  const Gradients gradients = {dx, dA, dP, dBm, dC, dlog_dt, dskip, dstate_in, dy, dstate_out};
  const auto sums_of = [=](int64_t task) { return reinterpret_cast<Step *>(all + groups * blocks * W) + task * N; };
  parallel_for(groups * blocks, [&](int64_t task, int worker) {
    Step *sums = sums_of(task);
    for (int64_t n = 0; n < N; n++) sums[n] = {};
    const Space space(scan, xl::scratch(worker, own), sums);
    const int64_t group = task / blocks;
    with_lanes(scan, task % blocks, [&](int64_t d, auto lanes) {
      discretize(space.steps, scan.model, d, lanes);
      vf skips = {};
      for (int64_t b = begin_of(scan, group); b < begin_of(scan, group + 1); b++)
        skips += backward_sequence(gradients, space, scan, b, d, lanes);
      store(all + task * W, skips);
    });
  });
  parallel_for(blocks, [&](int64_t block, int worker) {
    Step *sums = sums_of(block), *steps = reinterpret_cast<Step *>(xl::scratch(worker, own));
    vf skips = load(all + block * W);
    for (int64_t task = block + blocks; task < groups * blocks; task += blocks) {
      const vd *from = reinterpret_cast<const vd *>(sums_of(task));
      vd *to = reinterpret_cast<vd *>(sums);
      for (int64_t k = 0; k < N * int64_t(sizeof(Step) / sizeof(vd)); k++) to[k] += from[k];
      skips += load(all + task * W);
    }
    with_lanes(scan, block, [&](int64_t d, auto lanes) {
      if (dskip) lanes.store(dskip + d, lanes.load(dskip + d) + skips);
      const Shared shared = discretize(steps, scan.model, d, lanes);
      pull_back(gradients, sums, steps, shared, scan.model, d, lanes);
    });
  });
  return XL_OK;
}

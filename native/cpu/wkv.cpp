// The wkv of RWKV-4 (arXiv 2305.13048 eq. 16), forward and backward. The sums A and B over what came before are held as
// a e^m and b e^m, where m follows the largest exponent; their gradients in the same way, as dA e^q and dB e^q, so that
// keys of +-1e4 neither overflow nor lose what they weigh against each other.
//
// The backward pass walks chunks of STEPS steps from the last and recomputes the states of a chunk from the one that
// the forward pass kept: a step takes four exps forward, and four and five backward.
#include "channels.h"
#include "vmath.h"

using namespace XL_NS;

namespace {

constexpr float NOTHING = -__builtin_inff();
constexpr int64_t STATES = 3;  // a b m
constexpr int64_t KEPT = 4;    // the same within a chunk, where m is a Falling

struct Wkv {
  const float *k, *v, *w, *u;
  const uint8_t *reset;
  int64_t B, T, D;

  int64_t blocks() const { return channel_blocks(D); }
  int64_t chunks() const { return ceil_div(T, STEPS); }
  int64_t row(const Channels &at, int64_t t) const { return (at.b * T + t) * D; }
  bool is_reset(const Channels &at, int64_t t) const { return reset && reset[at.b * T + t]; }
};

// An exponent that falls by w with every step: from `top`, `steps` times. Subtracting w anew at each step would add up
// its roundings, all of one sign, for as long as the memory is.
struct Falling {
  vf top, steps;

  XL_INLINE vf now(vf w) const { return top - steps * w; }
  XL_INLINE Falling later() const { return {top, steps + 1.0f}; }
  XL_INLINE Falling or_from(vi mask, vf restart) const {
    return {select(mask, restart, top), select(mask, vf{}, steps)};
  }
};

struct State {
  vf a, b;
  Falling m;
};

XL_INLINE State empty_state() { return {vf{}, vf{}, {splat(NOTHING), vf{}}}; }

// Vector v of a state whose rows lie `stride` floats apart.
XL_INLINE State load_state(const float *state, int64_t stride, const Channels &at, int v) {
  return {at.load(state, v), at.load(state + stride, v), {at.load(state + 2 * stride, v), vf{}}};
}
XL_INLINE void store_state(float *state, int64_t stride, const Channels &at, int v, const State &s, vf w) {
  at.store(state, v, s.a);
  at.store(state + stride, v, s.b);
  at.store(state + 2 * stride, v, s.m.now(w));
}

// A' = e^-w A + e^k v;  B' = e^-w B + e^k.
XL_INLINE State advance(const State &s, vf k, vf v, vf w) {
  const Falling later = s.m.later();
  const vf aged = later.now(w), max = vmax(aged, k), decay = vexp(aged - max), weight = vexp(k - max);
  return {decay * s.a + weight * v, decay * s.b + weight, later.or_from(k >= aged, k)};
}

// y = (A + e^(u+k) v) / (B + e^(u+k)).
struct Reading {
  vf y, inverse /* of the denominator e^-max */, weight, max;
};

XL_INLINE Reading read(const State &s, vf k, vf v, vf w, vf u) {
  const vf m = s.m.now(w), bonus = u + k, max = vmax(m, bonus), past = vexp(m - max), weight = vexp(bonus - max);
  const vf inverse = 1.0f / (past * s.b + weight);
  return {(past * s.a + weight * v) * inverse, inverse, weight, max};
}

void forward_block(float *y, float *state_out, float *saved, const float *state_in, const Wkv &s, const Channels &at) {
  State state[VECTORS];
  vf w[VECTORS], u[VECTORS];
  for (int v = 0; v < VECTORS; v++) {
    w[v] = at.load(s.w, v);
    u[v] = at.load(s.u, v);
    state[v] = state_in ? load_state(state_in + at.b * s.D, s.B * s.D, at, v) : empty_state();
  }
  for (int64_t t = 0; t < s.T; t++) {
    const int64_t row = s.row(at, t);
    for (int v = 0; v < VECTORS; v++) {
      if (s.is_reset(at, t)) state[v] = empty_state();
      if (saved && t % STEPS == 0)
        store_state(saved + (at.b * s.chunks() + t / STEPS) * STATES * s.D, s.D, at, v, state[v], w[v]);
      const vf key = at.load(s.k + row, v), value = at.load(s.v + row, v);
      at.store(y + row, v, read(state[v], key, value, w[v], u[v]).y);
      state[v] = advance(state[v], key, value, w[v]);
    }
  }
  for (int v = 0; state_out && v < VECTORS; v++)
    store_state(state_out + at.b * s.D, s.B * s.D, at, v, state[v], w[v]);
}

}  // namespace

extern "C" int XL_KERNEL(xl_wkv_forward)(float *y, float *state_out, float *saved, const float *k, const float *v,
                                         const float *w, const float *u, const float *state_in, const uint8_t *reset,
                                         int64_t B, int64_t T, int64_t D) {
  if (int status = check_channels("wkv_forward", B, T, D)) return status;
  const Wkv s = {k, v, w, u, reset, B, T, D};
  parallel_for(B * s.blocks(), [&](int64_t task, int) {
    forward_block(y, state_out, saved, state_in, s, {task / s.blocks(), task % s.blocks() * BLOCK, D});
  });
  return XL_OK;
}

namespace {

struct WkvGradients {
  float *dk, *dv, *dw /* [B,padded], of a row of the batch each */, *du /* the same */, *dstate_in;
  const float *dy, *dstate_out, *saved, *state_in;
};

// What goes back in time for one vector of channels: dA e^q and dB e^q, and the gradient of m. As m takes no part in y,
// that one comes from the last state alone, and goes where the maximum came from.
struct Carried {
  vf dA, dB;
  Falling q;
  vf dm, dw, du;
};

XL_INLINE Carried start(const WkvGradients &to, const State &last, const Wkv &s, const Channels &at, int v) {
  if (!to.dstate_out) return {vf{}, vf{}, {splat(NOTHING), vf{}}, vf{}, vf{}, vf{}};
  const float *d = to.dstate_out + at.b * s.D;
  const vf da = at.load(d, v), db = at.load(d + s.B * s.D, v), dm = at.load(d + 2 * s.B * s.D, v);
  // The last state is a = A e^-m, b = B e^-m.
  return {da, db, {-last.m.now(at.load(s.w, v)), vf{}}, dm - (da * last.a + db * last.b), vf{}, vf{}};
}

struct StepGradient {
  vf dk, dv;
};

XL_INLINE StepGradient step_back(Carried &c, const State &before, vf k, vf v, vf dy, vf w, vf u) {
  // A' = e^-w A + e^k v;  B' = e^-w B + e^k
  const vf aged = before.m.later().now(w), q = c.q.now(w), weight = vexp(k + q);
  StepGradient g = {weight * (c.dA * v + c.dB), weight * c.dA};
  c.dw -= vexp(aged + q) * (c.dA * before.a + c.dB * before.b);
  // m' = max(m - w, k)
  const vi from_key = k >= aged;
  g.dk += select(from_key, c.dm, vf{});
  c.dm = select(from_key, vf{}, c.dm);
  c.dw -= c.dm;
  // y = (A + e^(u+k) v) / (B + e^(u+k))
  const Reading out = read(before, k, v, w, u);
  const vf dnumerator = dy * out.inverse, weighted = out.weight * dnumerator, dbonus = weighted * (v - out.y);
  g.dv += weighted;
  g.dk += dbonus;
  c.du += dbonus;
  // Any q does that keeps dA and dB in range. That of the last maximum is left only for one that is far above, since
  // as long as it stays nothing is rounded.
  const Falling later_q = c.q.later();
  const vf aged_q = later_q.now(w), own_q = -out.max;
  const vi restarts = own_q > aged_q + 4.0f;
  const vf next_q = select(restarts, own_q, aged_q), later = vexp(aged_q - next_q);
  const vf here = vexp(own_q - next_q) * dnumerator;
  c.dA = later * c.dA + here;
  c.dB = later * c.dB - here * out.y;
  c.q = later_q.or_from(restarts, own_q);
  return g;
}

// Fills before [STEPS,KEPT,BLOCK], the states that steps begin..end-1 read, for vector v; gives the state after the last.
XL_INLINE State recompute(float *before, const WkvGradients &to, const Wkv &s, const Channels &at, int v, int64_t begin,
                          int64_t end) {
  State state = load_state(to.saved + (at.b * s.chunks() + begin / STEPS) * STATES * s.D, s.D, at, v);
  const vf w = at.load(s.w, v);
  for (int64_t t = begin; t < end; t++) {
    if (s.is_reset(at, t)) state = empty_state();
    float *kept = before + (t - begin) * KEPT * BLOCK + v * W;
    store(kept, state.a);
    store(kept + BLOCK, state.b);
    store(kept + 2 * BLOCK, state.m.top);
    store(kept + 3 * BLOCK, state.m.steps);
    state = advance(state, at.load(s.k + s.row(at, t), v), at.load(s.v + s.row(at, t), v), w);
  }
  return state;
}

void finish(const WkvGradients &to, const Carried &c, const Wkv &s, const Channels &at, int v) {
  const int64_t padded = s.blocks() * BLOCK;
  store(to.dw + at.b * padded + at.d + v * W, c.dw);
  store(to.du + at.b * padded + at.d + v * W, c.du);
  if (!to.dstate_in) return;
  float *dstate = to.dstate_in + at.b * s.D;
  // A = a e^m;  B = b e^m
  const State first = to.state_in ? load_state(to.state_in + at.b * s.D, s.B * s.D, at, v) : empty_state();
  const vf scale = vexp(c.q.now(at.load(s.w, v)) + first.m.top), da = scale * c.dA, db = scale * c.dB;
  at.add(dstate, v, da);
  at.add(dstate + s.B * s.D, v, db);
  at.add(dstate + 2 * s.B * s.D, v, c.dm + (first.a * da + first.b * db));
}

void backward_block(float *before, const WkvGradients &to, const Wkv &s, const Channels &at) {
  Carried carried[VECTORS];
  for (int64_t begin = (s.chunks() - 1) * STEPS; begin >= 0; begin -= STEPS) {
    const int64_t end = min_of(s.T, begin + STEPS);
    for (int v = 0; v < VECTORS; v++) {
      const State last = recompute(before, to, s, at, v, begin, end);
      if (end == s.T) carried[v] = start(to, last, s, at, v);
      const vf w = at.load(s.w, v), u = at.load(s.u, v);
      for (int64_t t = end - 1; t >= begin; t--) {
        const int64_t row = s.row(at, t);
        const float *kept = before + (t - begin) * KEPT * BLOCK + v * W;
        Carried &c = carried[v];
        const State state = {load(kept), load(kept + BLOCK), {load(kept + 2 * BLOCK), load(kept + 3 * BLOCK)}};
        const StepGradient g =
            step_back(c, state, at.load(s.k + row, v), at.load(s.v + row, v), at.load(to.dy + row, v), w, u);
        at.add(to.dk + row, v, g.dk);
        at.add(to.dv + row, v, g.dv);
        if (s.is_reset(at, t)) c = {vf{}, vf{}, {splat(NOTHING), vf{}}, vf{}, c.dw, c.du};
      }
    }
  }
  for (int v = 0; v < VECTORS; v++) finish(to, carried[v], s, at, v);
}

}  // namespace

extern "C" int XL_KERNEL(xl_wkv_backward)(float *dk, float *dv, float *dw, float *du, float *dstate_in, const float *dy,
                                          const float *dstate_out, const float *saved, const float *k, const float *v,
                                          const float *w, const float *u, const float *state_in, const uint8_t *reset,
                                          int64_t B, int64_t T, int64_t D) {
  if (int status = check_channels("wkv_backward", B, T, D)) return status;
  if (B == 0) return XL_OK;
  if (T == 0) {
    for (int64_t e = 0; dstate_in && dstate_out && e < STATES * B * D; e++) dstate_in[e] += dstate_out[e];
    return XL_OK;
  }
  const Wkv s = {k, v, w, u, reset, B, T, D};
  const int64_t padded = s.blocks() * BLOCK;
  float *sums = xl::shared_scratch(2 * B * padded, 0);
  if (!sums || !reserve_scratch(STEPS * KEPT * BLOCK)) return out_of_scratch("wkv_backward", 2 * B * padded);
  const WkvGradients to = {dk, dv, sums, sums + B * padded, dstate_in, dy, dstate_out, saved, state_in};
  parallel_for(B * s.blocks(), [&](int64_t task, int worker) {
    backward_block(xl::scratch(worker, STEPS * KEPT * BLOCK), to, s,
                   {task / s.blocks(), task % s.blocks() * BLOCK, D});
  });
  if (dw) add_partials(dw, to.dw, B, padded, D);
  if (du) add_partials(du, to.du, B, padded, D);
  return XL_OK;
}

"""Proves what a decoding step fuses against float64: chains of norm, products, soft caps, residuals and gates.

    python3 test/cuda/check_decode.py LIBRARY [--small]

Calls are kept and launched together where they fit (native/cuda/deferred.cpp). Each chain is run so, with every result
compared, and again with a read between any two calls, which launches each alone. Chains whose results are written over
what they read must not be fused; they are run as well.
"""

import itertools
import sys

import torch
from library import Library

cuda = torch.device("cuda")
failures = []
TOLERANCE = 2e-5  # sums of exact products in float32, four upon each other; seen up to 1.3e-5 with 10,944 terms


def expect(name, got, want):
    error = (got.double() - want).pow(2).mean().sqrt() / want.pow(2).mean().sqrt().clamp_min(1e-30)
    if not float(error) <= TOLERANCE:
        failures.append(name)
        print(f"WRONG {name}: relative RMS {float(error):.1e}")
    return float(error)


class Chain:
    """Enqueues calls, and beside each computes in float64 what it should write."""

    def __init__(self, lib, waits):
        self.lib, self.waits, self.checks, self.kept = lib, waits, [], []

    def call(self, name, *arguments):
        self.kept.append(arguments)
        torch.cuda.synchronize()  # of PyTorch's own stream
        self.lib.call(name, *arguments)
        if self.waits:
            self.lib.call("xl_synchronize")

    def out(self, name, want):
        y = torch.full(want.shape, float("nan"), device=cuda)
        self.checks.append((name, y, want))
        return y

    def norm(self, x, weight, offset):
        N, D = x.shape
        exact = self.want_of(x)
        rstd = 1 / torch.sqrt(exact.pow(2).mean(-1) + 1e-6)
        y = self.out("norm", exact * rstd[:, None] * (offset + weight.double()))
        self.call("xl_rmsnorm_forward", y, self.out("rstd", rstd), x, weight, N, 1, D, 1e-6, offset)
        return y

    def want_of(self, y):
        """What should be in a result, which may not be there yet, or is in an input."""
        return next((want for _, found, want in self.checks if found is y), y.double())

    def linear(self, name, x, exact_x, weight, bias):
        """`weight` is (packed, exact) of bfloat16, or float32."""
        N, K = x.shape
        packed, exact = weight if isinstance(weight, tuple) else (None, weight.double())
        want = exact_x @ exact.T + (0 if bias is None else bias.double())
        y, O = self.out(name, want), exact.shape[0]
        if packed is None:
            self.call("xl_matmul", y, x, weight, bias, N, O, K, 0, 1, K, K, O, 0, 0)
        else:
            self.call("xl_linear_packed", y, x, packed, bias, N, O, K, 0, 0)
        return y

    def cap(self, y, cap):
        z = self.out("soft cap", cap * torch.tanh(self.want_of(y) / cap))
        self.call("xl_soft_cap_forward", z, y, y.numel(), cap)

    def add(self, name, y, other, swap=False):
        z = self.out(name, self.want_of(y) + self.want_of(other))
        a, b = (other, y) if swap else (y, other)
        self.call("xl_add", z, a, b, y.numel())
        return z

    def gated(self, gate, up):
        g, u = self.want_of(gate), self.want_of(up)
        z = self.out("gated", torch.nn.functional.silu(g) * u)
        self.call("xl_gated_activation_forward", z, gate, up, gate.numel(), 1)
        return z

    def compare(self, title):
        self.lib.call("xl_synchronize")
        return max(expect(f"{title}: {name}", found, want) for name, found, want in self.checks)


def matrix(lib, O, K):
    exact = (torch.randn(O, K, device=cuda) / K**0.5).bfloat16()
    packed = torch.zeros(O * 2 * K, device=cuda, dtype=torch.uint8)
    lib.run("xl_pack_rows", packed, exact.float(), O, K, 0, 0)
    return packed, exact.double()


def block(lib, N, D, Q, F, NH, waits):
    """The two halves of a block of xLSTM Large without the cell."""
    chain = Chain(lib, waits)
    x = torch.randn(N, D, device=cuda) * torch.rand(N, 1, device=cuda) * 30
    w1, w2 = torch.randn(D, device=cuda), torch.randn(D, device=cuda)
    maps = [matrix(lib, O, D) for O in (Q, Q, D, D)]
    gates = [torch.randn(NH, D, device=cuda) / D**0.5 for _ in range(2)]
    biases = [torch.randn(NH, device=cuda) for _ in range(2)]
    out, gate, up, down = matrix(lib, D, D), matrix(lib, F, D), matrix(lib, F, D), matrix(lib, D, F)
    some = torch.randn(D, device=cuda)
    torch.cuda.synchronize()
    normed = chain.norm(x, w1, 0.0)
    exact = chain.want_of(normed)
    for name, weight in zip("qkvo", maps):
        last = chain.linear(name, normed, exact, weight, some if name == "v" else None)
    for weight, bias in zip(gates, biases):
        chain.cap(chain.linear("gate", normed, exact, weight, bias), 15.0)
    # The layer norm per head and its gate.
    exact_last = chain.want_of(last).reshape(N, NH, D // NH)
    mean, variance = exact_last.mean(-1), exact_last.var(-1, unbiased=False)
    want = ((exact_last - mean[..., None]) / torch.sqrt(variance + 1e-5)[..., None]).reshape(N, D) * w2.double()
    h, m, r = chain.out("layer norm", want), chain.out("mean", mean), chain.out("rstd", 1 / torch.sqrt(variance + 1e-5))
    chain.call("xl_layernorm_forward", h, m, r, last, w2, None, N, NH, D // NH, 1e-5, 0.0)
    gated = chain.out("output gate", torch.sigmoid(x.double()) * want)
    chain.call("xl_gated_activation_forward", gated, x, h, N * D, 3)
    y = chain.linear("out", gated, chain.want_of(gated), out, None)
    x2 = chain.add("residual", y, x, swap=True)
    normed = chain.norm(x2, w2, 1.0)
    exact = chain.want_of(normed)
    a, b = chain.linear("ffn gate", normed, exact, gate, some[:1].expand(F).contiguous()), chain.linear("up", normed, exact, up, None)
    z = chain.gated(a, b)
    chain.add("second residual", chain.linear("down", z, chain.want_of(z), down, None), x2)
    return chain.compare(f"block N={N} D={D} Q={Q} F={F} NH={NH}{' alone' if waits else ''}")


def cell(lib, B, NH, DK, DV, waits, over, normalize=1):
    """A step of the mLSTM, the norm per head and the output gate; `over`: the state is updated in place."""
    chain = Chain(lib, waits)
    q, k = torch.randn(B, NH, DK, device=cuda), torch.randn(B, NH, DK, device=cuda)
    v, o = torch.randn(B, NH, DV, device=cuda), torch.randn(B, NH, DV, device=cuda)
    i, f = torch.randn(B, NH, device=cuda) * 3, torch.randn(B, NH, device=cuda) * 3
    C, n = torch.randn(B, NH, DK, DV, device=cuda), torch.randn(B, NH, DK, device=cuda)
    m, w = torch.randn(B, NH, device=cuda), torch.randn(NH * DV, device=cuda)
    m[0, 0] = -float("inf")
    C[0, 0], n[0, 0] = 0, 0
    forget = torch.nn.functional.logsigmoid(f.double()) + m.double()
    m1 = torch.maximum(forget, i.double())
    keep, add = torch.exp(forget - m1), torch.exp(i.double() - m1)
    C1 = keep[..., None, None] * C.double() + add[..., None, None] * k.double()[..., None] * v.double()[..., None, :]
    n1 = keep[..., None] * n.double() + add[..., None] * k.double()
    scaled = q.double() / DK**0.5
    dot = (scaled * n1).sum(-1).abs()
    below = torch.maximum(dot, torch.exp(-m1)) + 1e-6 if normalize else torch.ones_like(dot)
    h1 = torch.einsum("bhd,bhde->bhe", scaled, C1) / below[..., None]
    mean, variance = h1.mean(-1), h1.var(-1, unbiased=False)
    rstd = 1 / torch.sqrt(variance + 1e-5)
    want = (h1 - mean[..., None]) * rstd[..., None] * w.double().reshape(NH, DV)
    h, gated, y = chain.out("h", h1), chain.out("gated", torch.sigmoid(o.double()) * want), chain.out("layer norm", want)
    means, rstds = chain.out("mean", mean), chain.out("rstd", rstd)
    to = [chain.out(name, value) for name, value in (("C", C1), ("n", n1), ("m", m1))]
    if over:
        to = [C, n, m]
        chain.checks[-3:] = [("C", C, C1), ("n", n, n1), ("m", m, m1)]
    chain.call("xl_mlstm_step", h, *to, q, k, v, i, f, C, n, m, B, NH, DK, DV, 1e-6, 0, normalize)
    chain.call("xl_layernorm_forward", y, means, rstds, h, w, None, B, NH, DV, 1e-5, 0.0)
    chain.call("xl_gated_activation_forward", gated, o, y, B * NH * DV, 3)
    return chain.compare(f"cell B={B} NH={NH} DK={DK} DV={DV} waits={waits} over={over}")


def in_place(lib, N=3, D=256):
    """Results over what is read: a residual into the input of the norm, and of the product."""
    weight, w = matrix(lib, D, D), torch.randn(D, device=cuda)
    for over in ("norm's input", "other", "product's input"):
        x, other = torch.randn(N, D, device=cuda), torch.randn(N, D, device=cuda)
        n, y, r = (torch.full((N, D), float("nan"), device=cuda) for _ in range(3))
        rstd = 1 / torch.sqrt(x.double().pow(2).mean(-1, keepdim=True) + 1e-6)
        normed = x.double() * rstd * w.double()
        to = {"norm's input": x, "other": other, "product's input": n}[over]
        want = normed @ weight[1].T + other.double()
        torch.cuda.synchronize()
        lib.call("xl_rmsnorm_forward", n, r, x, w, N, 1, D, 1e-6, 0.0)
        lib.call("xl_linear_packed", y, n, weight[0], None, N, D, D, 0, 0)
        lib.call("xl_add", to, y, other, N * D)
        lib.call("xl_synchronize")
        expect(f"residual over the {over}", to, want)


def not_finite(lib, N=4, D=128):
    """A row of x that is not finite makes its row of y so, and no other."""
    weight, x = matrix(lib, 70, D), torch.randn(N, D, device=cuda)
    x[1, 5], x[2, 7] = float("inf"), float("nan")
    y = torch.zeros(N, 70, device=cuda)
    lib.run("xl_linear_packed", y, x, weight[0], None, N, 70, D, 0, 0)
    if not (y[[0, 3]].isfinite().all() and not y[[1, 2]].isfinite().any()):
        failures.append("not finite")


def main() -> None:
    lib = Library(sys.argv[1])
    torch.manual_seed(2)
    sizes = [(128, 64, 192, 4), (256, 128, 704, 2)]
    if "--small" not in sys.argv:
        sizes += [(768, 384, 2048, 4), (4096, 2048, 10944, 8), (1024, 40, 1088, 8)]
    for D, Q, F, NH in sizes:
        rows = (1, 3, 16) if "--small" in sys.argv else (1, 2, 5, 8, 9, 16, 17)
        worst = max(block(lib, N, D, Q, F, NH, waits) for N, waits in itertools.product(rows, (False, True)))
        print(f"blocks of D={D} Q={Q} F={F} NH={NH}: relative RMS up to {worst:.1e}")
    cells = [(1, 2, 64, 64), (3, 4, 96, 192), (2, 3, 33, 128)] + ([] if "--small" in sys.argv else [(1, 8, 256, 512), (16, 8, 256, 512), (2, 2, 300, 640)])
    worst = max(cell(lib, *sizes, waits, over) for sizes in cells for waits in (False, True) for over in (False, True))
    print(f"cells with norm and gate: relative RMS up to {worst:.1e}")
    in_place(lib)
    not_finite(lib)
    lib.call("xl_limit_capability", 80)
    print(f"as on a device of capability 80: {block(lib, 5, 256, 128, 704, 2, False):.1e}")
    print(f"{len(failures)} wrong" + (f": {', '.join(failures[:20])}" if failures else ""))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

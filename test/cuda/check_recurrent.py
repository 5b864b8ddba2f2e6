"""Checks the recurrent CUDA kernels against their definition in float64: python check_recurrent.py LIBRARY [--small].

Errors are RMS(error) / RMS(reference). float32: 1e-5, as on the CPU. bf16: h is rounded to bf16 before each product, which
alone is 2^-9 / sqrt(3) = 1.1e-3 of each term, gate gradients too; the references take the same bf16 inputs and a matrix
that is exact in bf16, and 1e-2 leaves room for what a recurrence makes of such errors (measured: up to 4e-3).

The maximum m of the sLSTM is a choice between two gates. h does not depend on it, and what e^m (c, n) is worth does not
either, but a cotangent of m alone goes to the gate that was chosen, all of it: where the two are as close as bf16 rounds,
that choice is chance. So the cotangents of the last state are a change of e^m (c, n) for bf16, anything for float32.
"""

import sys

import torch

from library import Library
from recurrent_library import STATES, backward, forward, reference

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
NAMES = ["di", "df", "dz", "do", "dR", "dbias", "dstate"]


def relative(got, want, least=1e-30):
    error, size = ((v.detach().square().mean().sqrt()) for v in (got.double() - want, want))
    return float(error / size.clamp_min(least))


def check(library, cell, dtype, B, T, NH, DH, reset=True, state=True, bias=True, cotangent=True, extreme=0.0):
    torch.manual_seed(B * 1000 + T * 100 + NH * 10 + DH)
    device = "cuda"
    x = [torch.randn(B, T, NH, DH, device=device).to(dtype) for _ in range(4)]
    if extreme:
        for gate in x[:2]:
            chosen = torch.rand(gate.shape, device=device) < 0.2
            gate[chosen] = (extreme * torch.sign(torch.randn(gate.shape, device=device)))[chosen].to(dtype)
    R = (0.5 * torch.randn(NH, 4, DH, DH, device=device) / DH**0.5).bfloat16().float()
    b = torch.randn(4, NH, DH, device=device) if bias else None
    S = None
    if state:
        S = torch.randn(STATES[cell], B, NH, DH, device=device)
        if cell == "slstm":
            S[1] = S[1].abs() + 1
        S[-1] = S[-1].clamp(-1, 1).bfloat16().float()
    r = (torch.rand(B, T, device=device) < 0.15).to(torch.uint8) if reset else None
    dh = torch.randn(B, T, NH, DH, device=device).to(dtype)
    dS = torch.randn(STATES[cell], B, NH, DH, device=device) if cotangent else None

    if dS is not None and cell == "slstm" and dtype == torch.bfloat16:
        last = reference(cell, [v.double() for v in x], R.double(), *[v if v is None else v.double() for v in (b, S)], r)[1]
        if T:
            dS[2] = (last[0] * dS[0] + last[1] * dS[1]).float()

    leaves = [v.double().requires_grad_() for v in x] + [R.double().requires_grad_()]
    leaves += [v.double().requires_grad_() if v is not None else None for v in (b, S)]
    want_h, want_S = reference(cell, leaves[:4], leaves[4], leaves[5], leaves[6], r)
    loss = (want_h * dh.double()).sum()
    if dS is not None:
        loss = loss + (want_S * dS.double()).sum()
    present = [v for v in leaves if v is not None]
    wanted = iter(torch.autograd.grad(loss, present, allow_unused=True))
    want = [next(wanted) if v is not None else None for v in leaves]
    want = [torch.zeros_like(v) if v is not None and g is None else g for v, g in zip(leaves, want)]

    errors, runs = {}, []
    for _ in range(2):
        h, S_out, saved = forward(library, cell, x, R, b, S, r)
        h_alone, _, _ = forward(library, cell, x, R, b, S, r, keep=False)
        torch.manual_seed(7)
        before, gradients = [], []
        for n, g in enumerate(want):
            if g is None:
                before.append(None), gradients.append(None)
                continue
            old = torch.randn(g.shape, device=device) * (g.square().mean().sqrt().float() if g.numel() else 1)
            before.append(old.to(dtype if n < 4 else torch.float32))
            gradients.append(before[-1].clone())
        backward(library, cell, gradients, dh, dS, h, saved, R, S, r)
        torch.cuda.synchronize()
        runs.append([h, S_out, *[g for g in gradients if g is not None]])
        assert torch.equal(h, h_alone), "h depends on whether anything is kept"
    for one, two in zip(*runs):
        assert torch.equal(one.view(torch.uint8), two.view(torch.uint8)), "two runs differ"
    if T > 0:
        errors["h"] = relative(h, want_h)
    finite = torch.isfinite(want_S) if T == 0 else torch.ones_like(want_S, dtype=torch.bool)
    errors["state"] = relative(S_out[finite], want_S[finite])
    for name, got, old, g in zip(NAMES, gradients, before, want):
        if g is not None and g.numel():
            # Gradients that cancel (that of i at the first step of all) are rounding errors in both.
            errors[name] = relative(got.double() - old.double(), g, 1e-3 if T else 1e-30)
    tolerance = 5e-2 if extreme else TOLERANCE[dtype] * (3 if dtype == torch.float32 and T > 200 else 1)
    bad = [k for k, v in errors.items() if not v <= tolerance]
    text = " ".join(f"{k} {v:.1e}" for k, v in errors.items())
    options = "".join(k for k, v in zip("rsbcx", (reset, state, bias, cotangent, extreme)) if v)
    print(f"{'FAIL' if bad else 'ok  '} {cell:5} {str(dtype)[6:]:8} B{B} T{T} {NH}x{DH} {options:5} {text}", flush=True)
    return not bad


def cases(small):
    plain = dict(reset=False, state=False, bias=False, cotangent=False)
    for cell in ("slstm", "lstm"):
        for dtype in (torch.float32, torch.bfloat16):
            yield cell, dtype, (3, 5, 2, 5), {}
            yield cell, dtype, (9, 7, 1, 64), {}
            yield cell, dtype, (1, 1, 1, 1), plain
            if small:
                yield cell, dtype, (9, 4, 1, 40), {}
                continue
            yield cell, dtype, (2, 0, 2, 8), {}
            yield cell, dtype, (1, 2, 3, 8), dict(state=False)
            yield cell, dtype, (5, 33, 3, 40), dict(cotangent=False)
            yield cell, dtype, (9, 21, 2, 100), {}
            yield cell, dtype, (17, 40, 2, 128), {}
            yield cell, dtype, (7, 30, 2, 192), {}
            yield cell, dtype, (16, 30, 4, 192), plain
            yield cell, dtype, (16, 64, 4, 256), {}
            yield cell, dtype, (33, 12, 4, 256), {}
            yield cell, dtype, (70, 9, 8, 64), {}
            yield cell, dtype, (3, 11, 1, 768), {}
            yield cell, dtype, (2, 5, 1, 1024), {}
            yield cell, dtype, (2, 4, 1, 1400), {}
            yield cell, dtype, (4, 300, 2, 64), dict(reset=False)
            yield cell, dtype, (8, 50, 2, 64), dict(extreme=1e4)
            yield cell, dtype, (8, 50, 2, 20), dict(extreme=1e4)
        if not small:
            yield cell, torch.bfloat16, (16, 1024, 4, 256), {}
            yield cell, torch.bfloat16, (16, 60, 1, 768), {}
            yield cell, torch.bfloat16, (40, 20, 1, 1024), {}
            yield cell, torch.bfloat16, (20, 9, 3, 512), {}
            yield cell, torch.bfloat16, (64, 100, 4, 256), plain


def without_clusters(small):
    """The same as a device of compute capability 8.0 runs it."""
    for cell in ("slstm", "lstm"):
        for sizes in ((3, 5, 2, 8), (9, 4, 1, 40)) if small else ((3, 5, 2, 8), (9, 21, 3, 104), (16, 64, 4, 256), (70, 9, 8, 64)):
            yield cell, torch.bfloat16, sizes, {}


if __name__ == "__main__":
    lib = Library(sys.argv[1])
    lib.call("xl_poison_workspace", 1)
    failed = 0
    small = "--small" in sys.argv
    settings = [(90, case) for case in cases(small)] + [(80, case) for case in without_clusters(small)]
    for capability, (cell, dtype, sizes, options) in settings:
        lib.call("xl_limit_capability", capability)
        try:
            failed += not check(lib, cell, dtype, *sizes, **options)
        except (AssertionError, RuntimeError) as error:
            failed += 1
            print(f"FAIL {cell} {dtype} {sizes}: {error}", flush=True)
            if "CUDA error" in str(error) or "launch failure" in str(error):
                break
    print(f"{failed} failed")
    sys.exit(1 if failed else 0)

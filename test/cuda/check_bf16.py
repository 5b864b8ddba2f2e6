"""Proves the bfloat16 kernels of the CUDA library against float64, gradients by automatic differentiation.

    python3 test/cuda/check_bf16.py LIBRARY [--small]

The float32 kernels are proved by the self-test (xlstm selftest --device cuda); where a bfloat16 kernel only moves
numbers it is compared with them. What a reference reads is rounded to bfloat16 first, so an error is the kernel's own:
that of rounding the result (2^-9 at most, 1.1e-3 RMS), twice where it is added to what is there. Sums in float32 of
exact products are good to 1e-5.
"""

import ctypes
import sys

import torch
import torch.nn.functional as F
from library import Library

ROUNDED, TWICE, SUMMED = 2.0e-3, 3.0e-3, 1e-5
cuda = torch.device("cuda")
failures = []


def relative_rms(got, want) -> float:
    error = (got.double() - want.double()).pow(2).mean().sqrt()
    return float(error / want.double().pow(2).mean().sqrt().clamp_min(1e-30))


def expect(name: str, got, want, tolerance: float) -> None:
    got, want = got.detach(), want.detach()
    error = relative_rms(got, want)
    if want.numel() < 64 and tolerance > 1e-3:
        tolerance = max(tolerance, 8e-3)  # few numbers do not average: a rounding is 2^-8 at most, and there may be two
    if not error <= tolerance:
        failures.append(name)
        print(f"WRONG {name}: relative RMS {error:.1e} above {tolerance:.0e}")
    else:
        print(f"ok    {name:58s} {error:.1e}")


def rand(*shape, scale=1.0):
    """bfloat16 numbers, as the kernel's argument and as a leaf for the reference."""
    x = (torch.randn(*shape, device=cuda) * scale).bfloat16()
    return x, x.double().requires_grad_(True)


def param(*shape, scale=1.0, offset=0.0):
    """float32 numbers likewise."""
    x = torch.randn(*shape, device=cuda) * scale + offset
    return x, x.double().requires_grad_(True)


def empty(*shape, dtype=torch.bfloat16):
    return torch.full(shape, float("nan"), device=cuda, dtype=dtype)


def start(like, dtype=torch.bfloat16):
    """What a gradient holds before it is added to."""
    return (0.25 * torch.randn(like.shape, device=cuda)).to(dtype)


ACTIVATIONS = {
    0: lambda x: x,
    1: F.silu,
    2: F.gelu,
    3: torch.sigmoid,
    4: torch.tanh,
    5: F.relu,
    6: torch.exp,
    7: F.softplus,
    8: F.logsigmoid,
    9: lambda x: torch.where(x > 0, x + 1, torch.exp(x)),
    10: lambda x: F.relu(x) ** 2,
    11: torch.sin,
}


def check_gradients(name, lib, kernel, outputs, y, dy, arguments):
    """outputs: (leaf, buffer with its start, tolerance); arguments: those of the backward kernel after the gradients."""
    for _, buffer, _ in outputs:
        if buffer is not None:
            buffer.before = buffer.double().clone()
    lib.run(kernel, *[buffer for _, buffer, _ in outputs], *arguments)
    leaves = [leaf for leaf, buffer, _ in outputs if buffer is not None]
    gradients = torch.autograd.grad(y, leaves, dy.double(), allow_unused=True)
    kept = [(buffer, tolerance) for _, buffer, tolerance in outputs if buffer is not None]
    for k, (gradient, (buffer, tolerance)) in enumerate(zip(gradients, kept)):
        expect(f"{name} gradient {k}", buffer, buffer.before + gradient, tolerance)


def elementwise(lib, N):
    (a, A), (b, B), (dy, DY) = rand(N), rand(N), rand(N)
    y = empty(N)
    lib.run("xl_add_bf16", y, a, b, N)
    expect(f"add N={N}", y, A + B, ROUNDED)
    lib.run("xl_mul_forward_bf16", y, a, b, N)
    expect(f"mul N={N}", y, A * B, ROUNDED)
    check_gradients(f"mul N={N}", lib, "xl_mul_backward_bf16", [(A, start(a), TWICE), (B, start(b), TWICE)], A * B, dy, (dy, a, b, N))
    before = start(a)
    to = before.clone()
    lib.run("xl_accumulate_bf16", to, a, 0.3, N)
    expect(f"accumulate N={N}", to, before.double() + 0.3 * A, TWICE)
    lib.run("xl_fill_bf16", y, 1.5, N)
    expect(f"fill N={N}", y, torch.full_like(A, 1.5), 0)
    lib.run("xl_copy_bf16", y, a, N)
    expect(f"copy N={N}", y, A, 0)
    f = torch.randn(N, device=cuda)
    lib.run("xl_cast_to_bf16", y, f, N)
    expect(f"cast_to_bf16 N={N}", y, f.bfloat16(), 0)
    back = empty(N, dtype=torch.float32)
    lib.run("xl_cast_from_bf16", back, y, N)
    expect(f"cast_from_bf16 N={N}", back, y.float(), 0)
    for k, function in ACTIVATIONS.items():
        lib.run("xl_activation_forward_bf16", y, a, N, k)
        expect(f"activation {k} N={N}", y, function(A), ROUNDED)
        check_gradients(f"activation {k} N={N}", lib, "xl_activation_backward_bf16", [(A, start(a), TWICE)], function(A), dy, (dy, a, N, k))
    lib.run("xl_gated_activation_forward_bf16", y, a, b, N, 1)
    expect(f"gated activation N={N}", y, F.silu(A) * B, ROUNDED)
    check_gradients(f"gated activation N={N}", lib, "xl_gated_activation_backward_bf16", [(A, start(a), TWICE), (B, start(b), TWICE)],
                    F.silu(A) * B, dy, (dy, a, b, N, 1))
    capped = (2.0 * torch.tanh(A / 2.0)).detach().bfloat16()
    lib.run("xl_soft_cap_forward_bf16", y, a, N, 2.0)
    expect(f"soft cap N={N}", y, 2.0 * torch.tanh(A / 2.0), ROUNDED)
    before = start(a)
    to = before.clone()
    lib.run("xl_soft_cap_backward_bf16", to, dy, capped, N, 2.0)
    expect(f"soft cap N={N} gradient", to, before.double() + DY * (1 - (capped.double() / 2.0) ** 2), TWICE)
    dropped = empty(N, dtype=torch.float32)
    lib.run("xl_dropout_forward", dropped, a.float(), N, 0.3, 7, 9)
    lib.run("xl_dropout_forward_bf16", y, a, N, 0.3, 7, 9)
    expect(f"dropout N={N}", y, dropped, ROUNDED)
    before = start(a)
    to, wide = before.clone(), before.float()
    lib.run("xl_dropout_backward_bf16", to, dy, N, 0.3, 7, 9)
    lib.run("xl_dropout_backward", wide, dy.float(), N, 0.3, 7, 9)
    expect(f"dropout N={N} gradient", to, wide, TWICE)
    total = empty(1, dtype=torch.float32)
    lib.run("xl_sum_forward_bf16", total, a, N, 0.5)
    expect(f"sum N={N}", total, 0.5 * A.sum().reshape(1), 1e-6)
    one = torch.randn(1, device=cuda)
    before = start(a)
    to = before.clone()
    lib.run("xl_sum_backward_bf16", to, one, N, 0.5)
    expect(f"sum N={N} gradient", to, before.double() + 0.5 * one.double(), TWICE)


def rows(lib, N, D):
    (h, H), (c, C), (z, Z), (dy, _), (skip, S) = rand(N, D), rand(N, D), rand(N, D), rand(N, D), param(D)
    y = empty(N, D)
    lib.run("xl_skip_gate_forward_bf16", y, h, c, skip, z, N, D)
    expect(f"skip gate {N}x{D}", y, (H + S * C) * F.silu(Z), ROUNDED)
    f32 = torch.float32
    check_gradients(f"skip gate {N}x{D}", lib, "xl_skip_gate_backward_bf16",
                    [(H, start(h), TWICE), (C, start(c), TWICE), (S, start(skip, f32), SUMMED), (Z, start(z), TWICE)],
                    (H + S * C) * F.silu(Z), dy, (dy, h, c, skip, z, N, D))
    dbias = start(skip, f32)
    before = dbias.clone()
    lib.run("xl_bias_backward_bf16", dbias, dy, N, D)
    expect(f"bias {N}x{D} gradient", dbias, before.double() + dy.double().sum(0), SUMMED)


def norms(lib, N, G, D):
    name = f"N={N} G={G} D={D}"
    f32 = torch.float32
    (x, X), (dy, _) = rand(N, G, D), rand(N, G, D)
    (w, W), (b, B) = param(G, D, scale=0.3), param(G, D)
    y, mean, rstd = empty(N, G, D), empty(N, G, dtype=f32), empty(N, G, dtype=f32)
    lib.run("xl_layernorm_forward_bf16", y, mean, rstd, x, w, b, N, G, D, 1e-5, 1.0)
    variance, average = torch.var_mean(X, -1, correction=0, keepdim=True)
    norm = (X - average) * torch.rsqrt(variance + 1e-5)
    expect(f"layernorm {name}", y, norm * (1 + W) + B, ROUNDED)
    expect(f"layernorm {name} mean", mean, average.squeeze(-1), 1e-5)
    expect(f"layernorm {name} rstd", rstd, torch.rsqrt(variance + 1e-5).squeeze(-1), 1e-5)
    check_gradients(f"layernorm {name}", lib, "xl_layernorm_backward_bf16",
                    [(X, start(x), TWICE), (W, start(w, f32), SUMMED), (B, start(b, f32), SUMMED)],
                    norm * (1 + W) + B, dy, (dy, x, w, mean, rstd, N, G, D, 1.0))
    lib.run("xl_rmsnorm_forward_bf16", y, rstd, x, w, N, G, D, 1e-5, 1.0)
    norm = X * torch.rsqrt(X.pow(2).mean(-1, keepdim=True) + 1e-5)
    expect(f"rmsnorm {name}", y, norm * (1 + W), ROUNDED)
    check_gradients(f"rmsnorm {name}", lib, "xl_rmsnorm_backward_bf16",
                    [(X, start(x), TWICE), (W, start(w, f32), SUMMED)], norm * (1 + W), dy,
                    (dy, x, w, rstd, N, G, D, 1.0))


def convolution(lib, B, T, D, K):
    name = f"conv1d B={B} T={T} D={D} K={K}"
    f32 = torch.float32
    (x, X), (dy, _) = rand(B, T, D), rand(B, T, D)
    (w, W), (bias, BIAS), (state, S) = param(D, K), param(D), param(B, K - 1, D)
    reset = (torch.rand(B, T, device=cuda) < 0.1).byte()
    after, dafter = empty(B, K - 1, D, dtype=f32), torch.randn(B, K - 1, D, device=cuda)
    inputs = torch.cat([S, X], 1)
    document = torch.cat([torch.zeros(B, K - 1, device=cuda, dtype=torch.int32), reset.int().cumsum(1)], 1)
    total = BIAS.expand(B, T, D)
    for j in range(K):
        visible = (document[:, j:j + T] == document[:, K - 1:]).unsqueeze(-1)
        total = total + W[:, j] * torch.where(visible, inputs[:, j:j + T], 0.0)
    want = F.silu(total)
    last = torch.where((document[:, T:] == document[:, -1:]).unsqueeze(-1), inputs[:, T:], 0.0)
    y = empty(B, T, D)
    lib.run("xl_conv1d_forward_bf16", y, after, x, w, bias, state, reset, B, T, D, K, 1)
    expect(name, y, want, ROUNDED)
    expect(f"{name} state", after, last, 1e-6)
    both = (want * dy.double()).sum() + (last * dafter.double()).sum()
    check_gradients(name, lib, "xl_conv1d_backward_bf16",
                    [(X, start(x), TWICE), (W, start(w, f32), SUMMED), (BIAS, start(bias, f32), SUMMED), (S, start(state, f32), SUMMED)],
                    both, torch.ones((), device=cuda), (dy, dafter, x, w, bias, state, reset, B, T, D, K, 1))


def scans(lib, B, T, D):
    f32 = torch.float32
    (a, A), (x, X), (dh, _) = rand(B, T, D, scale=0.5), rand(B, T, D), rand(B, T, D)
    (state, S), dlast = param(B, D), torch.randn(B, D, device=cuda)
    reset = (torch.rand(B, T, device=cuda) < 0.1).byte()
    current, steps = S, []
    for t in range(T):
        current = A[:, t] * torch.where(reset[:, t:t + 1] > 0, 0.0, current) + X[:, t]
        steps.append(current)
    want = torch.stack(steps, 1)
    h, last = empty(B, T, D), empty(B, D, dtype=f32)
    lib.run("xl_scan_forward_bf16", h, last, a, x, state, reset, B, T, D)
    expect(f"scan B={B} T={T} D={D}", h, want, ROUNDED)
    expect(f"scan B={B} T={T} D={D} state", last, current, SUMMED)
    both = (want * dh.double()).sum() + (current * dlast.double()).sum()
    # The gradient of a reads h, which is rounded.
    check_gradients(f"scan B={B} T={T} D={D}", lib, "xl_scan_backward_bf16",
                    [(A, start(a), 2 * TWICE), (X, start(x), TWICE), (S, start(state, f32), SUMMED)],
                    both, torch.ones((), device=cuda), (dh, dlast, h, a, state, reset, B, T, D))


def attention_parts(lib, B, T, NH, DH, W):
    (x, X), (dy, _) = rand(B * T, NH, DH), rand(B * T, NH, DH)
    positions = empty(B * T, dtype=torch.float32).int()
    reset = (torch.rand(B, T, device=cuda) < 0.05).byte()
    lib.run("xl_positions", positions, None, None, reset, B, T)
    angle = positions.double()[:, None] * 10000.0 ** (-2 * torch.arange(DH // 2, device=cuda).double() / DH)
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    first, second = X.chunk(2, -1)
    want = torch.cat([first * c - second * s, second * c + first * s], -1)
    y = empty(B * T, NH, DH)
    lib.run("xl_rope_forward_bf16", y, x, positions, B * T, NH, DH, 10000.0)
    expect(f"rope B={B} T={T} NH={NH} DH={DH}", y, want, ROUNDED)
    check_gradients("rope", lib, "xl_rope_backward_bf16", [(X, start(x), TWICE)], want, dy, (dy, positions, B * T, NH, DH, 10000.0))
    R = NH * DH
    before, _ = rand(B, W, R)
    out, wide = empty(B, W, R), empty(B, W, R, dtype=torch.float32)
    lib.run("xl_attention_cache_bf16", out, before, x, positions, B, T, W, R)
    lib.run("xl_attention_cache", wide, before.float(), x.float(), positions, B, T, W, R)
    expect("attention cache", out, wide, 0)
    dk, dbefore = start(x), start(before)
    wide_dk, wide_dbefore = dk.float(), dbefore.float()
    lib.run("xl_attention_cache_backward_bf16", dk, dbefore, out, positions, B, T, W, R)
    lib.run("xl_attention_cache_backward", wide_dk, wide_dbefore, wide, positions, B, T, W, R)
    expect("attention cache gradient", dk, wide_dk, TWICE)
    expect("attention cache state gradient", dbefore, wide_dbefore, TWICE)


def embedding(lib, N, D, V):
    table, TABLE = param(V, D)
    tokens = torch.randint(0, V, (N,), device=cuda, dtype=torch.int32)
    dy, _ = rand(N, D)
    y = empty(N, D)
    lib.run("xl_embedding_forward_bf16", y, tokens, table, N, D, V)
    expect(f"embedding N={N} D={D} V={V}", y, table[tokens.long()].bfloat16(), 0)
    check_gradients(f"embedding N={N} D={D} V={V}", lib, "xl_embedding_backward_bf16", [(TABLE, start(table, torch.float32), SUMMED)],
                    TABLE[tokens.long()], dy, (dy, tokens, N, D, V))


def matmuls(lib, M, N, K):
    f32 = torch.float32
    for ta in (0, 1):
        for tb in (0, 1):
            (a, A), (b, B) = rand(*((K, M) if ta else (M, K))), rand(*((N, K) if tb else (K, N)))
            bias, BIAS = param(N)
            want = ((A.T if ta else A) @ (B.T if tb else B)).detach()
            sizes = (M, N, K, ta, tb, M if ta else K, K if tb else N, N)
            name = f"matmul {M}x{N}x{K} {'TN'[1 - ta]}{'TN'[1 - tb]}"
            c = empty(M, N)
            lib.run("xl_matmul_bf16", c, a, b, None, *sizes, 0, 0)
            expect(name, c, want, ROUNDED)
            lib.run("xl_matmul_bf16", c, a, b, bias, *sizes, 0, 1)
            expect(f"{name} bias silu", c, F.silu(want + BIAS.detach()), TWICE * 1.5)
            wide = torch.randn(M, N, device=cuda)
            before = wide.double()
            lib.run("xl_matmul_bf16_float", wide, a, b, None, *sizes, 1, 0)
            expect(f"{name} into float32", wide, before + want, SUMMED)


def headwise(lib, N, G, O, I):
    name = f"headwise N={N} G={G} O={O} I={I}"
    f32 = torch.float32
    (x, X), (dy, _), (w, W), (b, B) = rand(N, G, I), rand(N, G, O), param(G, O, I), param(G, O)
    want = torch.einsum("goi,ngi->ngo", W, X) + B
    y = empty(N, G, O)
    # Blocks beyond 16 round their weights to bfloat16.
    looser = 1 if max(O, I) <= 16 else 2
    lib.run("xl_headwise_linear_forward_bf16", y, x, w, b, N, G, O, I)
    expect(name, y, want, ROUNDED * looser)
    check_gradients(name, lib, "xl_headwise_linear_backward_bf16",
                    [(X, start(x), TWICE * looser), (W, start(w, f32), SUMMED), (B, start(b, f32), SUMMED)], want, dy,
                    (dy, x, w, N, G, O, I))


def packed(lib, O, I, format, group):
    row = {0: 2 * I, 1: 2 * I}.get(format)
    if row is None:
        scales = I if format == 2 else 64 * ((I + 127) // 128)
        row = (scales + 2 * (1 if group == 0 else -(-I // group)) + 63) // 64 * 64
    weight = torch.randn(O, I, device=cuda)
    data = torch.zeros(O * row, device=cuda, dtype=torch.uint8)
    lib.run("xl_pack_rows", data, weight, O, I, format, group)
    exact = empty(O, I, dtype=torch.float32)
    lib.run("xl_unpack_rows", exact, data, O, I, format, group)
    expect(f"unpack format {format} group {group}", exact, weight, [3e-3, 1e-3, 1.5e-2, 0.12][format])
    bias = torch.randn(O, device=cuda)
    for N in (1, 2, 3, 8, 40):
        x, X = rand(N, I)
        y = empty(N, O)
        lib.run("xl_linear_packed_bf16", y, x, data, bias, N, O, I, format, group)
        # Many rows: the unpacked weights are rounded to bfloat16, and the product before the bias is added.
        expect(f"linear packed N={N} O={O} I={I} format {format} group {group}", y,
               X @ exact.double().T + bias.double(), ROUNDED if N <= 32 else 2 * TWICE)
        wide = empty(N, O, dtype=torch.float32)
        lib.run("xl_linear_packed", wide, x.float(), data, bias, N, O, I, format, group)
        expect(f"linear packed float32 N={N} format {format} group {group}", wide,
               X @ exact.double().T + bias.double(), 2e-6)


def cross_entropy(lib, N, D, V, cap):
    name = f"cross-entropy N={N} D={D} V={V} cap={cap}"
    f32 = torch.float32
    (x, X), (w, W) = rand(N, D), rand(V, D, scale=0.2)
    targets = torch.randint(0, V, (N,), device=cuda, dtype=torch.int32)
    targets[::7] = -1
    logits = X @ W.T
    if cap:
        logits = cap * torch.tanh(logits / cap)
    total = torch.logsumexp(logits, -1)
    picked = logits.gather(1, targets.clamp_min(0).long()[:, None]).squeeze(1)
    want = torch.where(targets < 0, 0.0, total - picked)
    loss, lse = empty(N, dtype=f32), empty(N, dtype=f32)
    lib.run("xl_linear_cross_entropy_forward_bf16", loss, lse, x, w, targets, N, D, V, cap)
    expect(name, loss, want, SUMMED)
    expect(f"{name} logsumexp", lse, total, SUMMED)
    dloss = torch.rand(N, device=cuda) + 0.5
    # The gradients of the logits are rounded on their way into the products.
    check_gradients(name, lib, "xl_linear_cross_entropy_backward_bf16",
                    [(X, start(x), TWICE), (W, start(w, f32), TWICE)], want, dloss, (dloss, x, w, targets, lse, N, D, V, cap))


def runtime(lib):
    """What only a GPU has: faults, graphs, memory, and the same bits on each run."""
    table, y = torch.randn(5, 8, device=cuda), empty(3, 8, dtype=torch.float32)
    torch.cuda.synchronize()
    lib.call("xl_embedding_forward", y, torch.tensor([1, 7, 2], device=cuda, dtype=torch.int32), table, 3, 8, 5)
    ok = lib.status("xl_synchronize") != 0 and "token 7 at position 1" in lib.error()
    print("fault:", lib.error())
    ok = ok and lib.status("xl_synchronize") == 0
    huge = ctypes.c_double()
    ok = ok and lib.status("xl_alloc", ctypes.addressof(huge), 1 << 45) == 2
    print("memory:", lib.error())
    x, total = torch.randn(1000, device=cuda), torch.zeros(1000, device=cuda)
    torch.cuda.synchronize()
    lib.call("xl_capture_begin")
    room = lib.handle("xl_alloc", 4000)
    lib.call("xl_fill", room, 2.0, 1000)
    lib.call("xl_accumulate", total, x, 1.0, 1000)
    lib.call("xl_accumulate", total, room, 1.0, 1000)
    lib.call("xl_free", room, 4000)
    graph = lib.handle("xl_capture_end")
    for _ in range(3):
        lib.call("xl_graph_launch", graph)
    lib.call("xl_synchronize")
    expect("graph of three kernels, three times", total, 3 * (x.double() + 2), 1e-6)
    lib.call("xl_graph_destroy", graph)
    info = (ctypes.c_double * 4)()
    lib.call("xl_memory_info", ctypes.addressof(info))
    print("memory held, cached, workspace, graphs (MiB):", [round(v / 2**20, 2) for v in info])
    ok = ok and info[3] == 0
    if not ok:
        failures.append("runtime")
    N, D, V = 700, 64, 1003
    (x, _), (w, _) = rand(N, D), rand(V, D)
    tokens = torch.randint(0, 50, (N,), device=cuda, dtype=torch.int32)
    results = []
    for _ in range(2):
        dx, dw, de = torch.zeros_like(x), torch.zeros(V, D, device=cuda), torch.zeros(V, D, device=cuda)
        lse, loss, dg = empty(N, dtype=torch.float32), empty(N, dtype=torch.float32), torch.zeros(1, D, device=cuda)
        lib.run("xl_linear_cross_entropy_forward_bf16", loss, lse, x, w, tokens, N, D, V, 0.0)
        lib.run("xl_linear_cross_entropy_backward_bf16", dx, dw, torch.ones(N, device=cuda), x, w, tokens, lse, N, D, V, 0.0)
        lib.run("xl_embedding_backward_bf16", de, x, tokens, N, D, V)
        lib.run("xl_rmsnorm_backward_bf16", dx, dg, x, x, torch.ones(1, D, device=cuda), loss, N, 1, D, 0.0)
        results.append([dx, dw, de, lse, dg])
    if not all(torch.equal(a, b) for a, b in zip(*results)):
        failures.append("the same bits on each run")
        print("WRONG: not the same bits on each run")


def main() -> None:
    lib = Library(sys.argv[1])
    small = "--small" in sys.argv
    torch.manual_seed(1)
    print(lib.dll.xl_device_name().decode())
    runtime(lib)
    print("cuBLASLt:", lib.dll.xl_cublaslt_path().decode())
    for N in (1, 1003) if small else (1, 1003, 65536):
        elementwise(lib, N)
    for N, D in ((37, 33), (200, 256)):
        rows(lib, N, D)
    for sizes in ((19, 4, 128), (9, 3, 33), (37, 1, 768), (5, 1, 2048)) + (() if small else ((7, 1, 4096), (300, 1, 8192), (3, 1, 10000), (4, 1, 1001))):
        norms(lib, *sizes)
    for sizes in ((2, 37, 5, 3), (3, 50, 256, 4), (2, 2, 8, 4)):
        convolution(lib, *sizes)
    scans(lib, 3, 40, 33)
    attention_parts(lib, 3, 50, 2, 16, 7)
    for sizes in ((100, 33, 20), (2500, 64, 300)):
        embedding(lib, *sizes)
    for sizes in ((64, 128, 256), (33, 17, 65), (1, 8, 8)) + (() if small else ((1000, 768, 2048),)):
        matmuls(lib, *sizes)
    for sizes in ((70, 6, 4, 4), (70, 3, 5, 3), (130, 4, 64, 32), (50, 2, 33, 17)):
        headwise(lib, *sizes)
    for format, group in ((0, 0), (1, 0), (2, 0), (2, 48), (3, 128), (3, 32)):
        packed(lib, 37, 1024, format, group)
    for sizes in ((300, 64, 1000, 0.0), (130, 33, 1003, 5.0)):
        cross_entropy(lib, *sizes)
    print(f"{len(failures)} wrong" + (f": {', '.join(failures)}" if failures else ""))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

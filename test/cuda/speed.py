"""Times the kernels of the parts on this GPU: bytes or operations as counted in their head comments, over the median time.

    python3 test/cuda/speed.py LIBRARY

Run check_bf16.py first. Inputs are random; buffers are far larger than the caches, or the caches are cleared by the size
of what a call touches.
"""

import sys

import torch
from library import Library

cuda = torch.device("cuda")
bf16, f32 = torch.bfloat16, torch.float32


def rand(*shape, dtype=bf16):
    return torch.randn(*shape, device=cuda, dtype=f32).to(dtype)


def report(name, milliseconds, bytes_moved=0, operations=0):
    rate = f"{bytes_moved / milliseconds / 1e9:7.2f} TB/s" if bytes_moved else f"{operations / milliseconds / 1e9:7.0f} TFLOP/s"
    print(f"{name:52s} {milliseconds:8.3f} ms {rate}")


def memory_bound(lib):
    def one(name, bytes_per_element, N, *arguments):
        report(name, lib.milliseconds(lambda: lib.call(name.split()[0], *arguments)), bytes_per_element * N)

    source, to = rand(2**28, dtype=f32), torch.empty(2**28, device=cuda)
    one("xl_copy 2^28", 8, 2**28, to, source, 2**28)
    del source, to
    for dtype, suffix in ((f32, ""), (bf16, "_bf16")):
        size, N = (4 if dtype == f32 else 2), 2**26
        a, b, c, d = (rand(N, dtype=dtype) for _ in range(4))
        one(f"xl_add{suffix}", 3 * size, N, c, a, b, N)
        one(f"xl_activation_forward{suffix} silu", 2 * size, N, c, a, N, 1)
        one(f"xl_activation_forward{suffix} gelu", 2 * size, N, c, a, N, 2)
        one(f"xl_gated_activation_backward{suffix}", 7 * size, N, c, d, a, b, a, N, 1)
        one(f"xl_dropout_forward{suffix}", 2 * size, N, c, a, N, 0.1, 3, 5)
        one(f"xl_sum_forward{suffix}", size, N, torch.empty(1, device=cuda), a, N, 1.0)
        for rows, D in ((2**26 // 1024, 1024), (2**26 // 4096, 4096), (2**26 // 768, 768)):
            w, bias, M = torch.randn(D, device=cuda), torch.randn(D, device=cuda), rows * D
            mean, rstd = torch.randn(rows, device=cuda), torch.rand(rows, device=cuda)
            one(f"xl_layernorm_forward{suffix} {D}", 2 * size, M, c, mean, rstd, a, w, bias, rows, 1, D, 1e-5, 0.0)
            one(f"xl_layernorm_backward{suffix} {D}", 4 * size, M, c, w, bias, b, a, w, mean, rstd, rows, 1, D, 0.0)
            one(f"xl_rmsnorm_forward{suffix} {D}", 2 * size, M, c, rstd, a, w, rows, 1, D, 1e-5, 0.0)
            one(f"xl_rmsnorm_backward{suffix} {D}", 4 * size, M, c, w, b, a, w, rstd, rows, 1, D, 0.0)
        rows, D = 2**16, 1024
        w, skip = torch.randn(D, 4, device=cuda), torch.randn(D, device=cuda)
        one(f"xl_conv1d_forward{suffix}", 2 * size, N, c, None, a, w, skip, None, None, 8, rows // 8, D, 4, 1)
        one(f"xl_conv1d_backward{suffix}", 4 * size, N, c, w, skip, None, b, None, a, w, skip, None, None, 8, rows // 8, D, 4, 1)
        one(f"xl_skip_gate_forward{suffix}", 4 * size, N, c, a, b, skip, d, rows, D)
        one(f"xl_skip_gate_backward{suffix}", 10 * size, N, c, d, skip, a, b, a, b, skip, a, rows, D)
        blocks = torch.randn(D // 4, 4, 4, device=cuda)
        one(f"xl_headwise_linear_forward{suffix} 4x4", 2 * size, N, c, a, blocks, None, rows, D // 4, 4, 4)
        one(f"xl_headwise_linear_backward{suffix} 4x4", 4 * size, N, c, blocks, None, b, a, blocks, rows, D // 4, 4, 4)
        one(f"xl_scan_forward{suffix} B=64 T=1024 D=1024", 3 * size, N, c, None, a, b, None, None, 64, 1024, 1024)
        tokens = (torch.rand(rows, device=cuda) ** 3 * 50000).int()
        table = torch.randn(50304, D, device=cuda)
        one(f"xl_embedding_forward{suffix}", 4 + size, N, c, tokens, table, rows, D, 50304)
        one(f"xl_embedding_backward{suffix}", size, N, table, a, tokens, rows, D, 50304)
        one(f"xl_bias_backward{suffix}", size, N, skip, a, rows, D)
        del a, b, c, d
    p, m, g = (torch.randn(2**26, device=cuda) for _ in range(3))
    v = torch.rand(2**26, device=cuda)
    one("xl_adamw", 28, 2**26, p, m, v, g, 2**26, 1.0, 1e-3, 0.9, 0.99, 1e-8, 0.1, 0.5, 0.5)


def packed(lib, O=65536, I=4096):
    weight = torch.randn(O, I, device=cuda)
    for format, group, row in ((0, 0, 2 * I), (2, 128, I + 64), (3, 128, I // 2 + 64)):
        data = torch.zeros(O * row, device=cuda, dtype=torch.uint8)
        lib.run("xl_pack_rows", data, weight, O, I, format, group)
        for N in (1, 4, 8):
            x, y = rand(N, I), torch.empty(N, O, device=cuda, dtype=bf16)
            time = lib.milliseconds(lambda: lib.call("xl_linear_packed_bf16", y, x, data, None, N, O, I, format, group))
            report(f"linear_packed_bf16 {['bf16', 'f16', 'int8', 'int4'][format]} N={N}", time, O * row)


def products(lib):
    for M, N, K in ((8192, 8192, 8192), (32768, 768, 768), (32768, 3072, 768), (768, 3072, 32768)):
        a, b, c = rand(M, K), rand(N, K), torch.empty(M, N, device=cuda, dtype=bf16)
        time = lib.milliseconds(lambda: lib.call("xl_matmul_bf16", c, a, b, None, M, N, K, 0, 1, K, K, N, 0, 0))
        report(f"matmul_bf16 {M}x{N}x{K}", time, operations=2 * M * N * K)
        torch.cuda.synchronize()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        for repeat in range(13):
            if repeat == 3:
                start.record()
            torch.mm(a, b.T, out=c)
        end.record()
        torch.cuda.synchronize()
        report(f"  PyTorch {M}x{N}x{K}", start.elapsed_time(end) / 10, operations=2 * M * N * K)
    a, b, c = rand(4096, 4096, dtype=f32), rand(4096, 4096, dtype=f32), torch.empty(4096, 4096, device=cuda)
    time = lib.milliseconds(lambda: lib.call("xl_matmul", c, a, b, None, 4096, 4096, 4096, 0, 1, 4096, 4096, 4096, 0, 0))
    report("matmul float32 4096^3", time, operations=2 * 4096**3)
    N, D, V = 32768, 768, 50304
    x, w, dx, dw = rand(N, D), rand(V, D) * 0.05, torch.zeros(N, D, device=cuda, dtype=bf16), torch.zeros(V, D, device=cuda)
    targets = torch.randint(0, V, (N,), device=cuda, dtype=torch.int32)
    loss, lse, one = torch.empty(N, device=cuda), torch.empty(N, device=cuda), torch.ones(N, device=cuda)
    run = lambda: lib.call("xl_linear_cross_entropy_forward_bf16", loss, lse, x, w, targets, N, D, V, 0.0)
    report("cross-entropy forward bf16 32768x768x50304", lib.milliseconds(run, 5), operations=2 * N * D * V)
    run = lambda: lib.call("xl_linear_cross_entropy_backward_bf16", dx, dw, one, x, w, targets, lse, N, D, V, 0.0)
    report("cross-entropy backward bf16 32768x768x50304", lib.milliseconds(run, 5), operations=6 * N * D * V)


def main() -> None:
    lib = Library(sys.argv[1])
    torch.manual_seed(2)
    print(lib.dll.xl_device_name().decode())
    memory_bound(lib)
    packed(lib)
    products(lib)


if __name__ == "__main__":
    main()

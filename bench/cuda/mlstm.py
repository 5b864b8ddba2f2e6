"""Times the mLSTM kernels of a CUDA library: ms, TFLOP/s, GB/s and the share of the floor.

    python3 bench/cuda/mlstm.py LIBRARY [--kernels]

Prove them right first with test/cuda/check_mlstm.py. Floor: the larger of least bytes (each input read once, each
output written once; backward reads and adds to its gradients) over a copy's rate and of least operations (chunks of
64 steps) over a large bf16 product's rate, both measured here first. Medians of 20 calls, the L2 cache overwritten
before each.
--kernels lists the time of each kernel at the first two sizes.
"""
import os
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../../test/cuda'))
from mlstm_library import Mlstm, empty_outputs, gradients, random_inputs  # noqa: E402

SIZES = [(8, 8192, 8, 256, 512), (8, 2048, 4, 96, 192), (16, 2048, 4, 96, 192), (8, 2048, 4, 384, 384),
         (8, 2048, 8, 128, 128), (1, 8192, 8, 256, 512)]
STEPS = [(1, 8, 256, 512), (64, 8, 256, 512)]


def median_torch_ms(function, flush, times=20):
    """Of work on PyTorch's stream."""
    results = []
    for _ in range(times + 3):
        flush.zero_()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        function()
        end.record()
        torch.cuda.synchronize()
        results.append(start.elapsed_time(end))
    return sorted(results[3:])[times // 2]


def main():
    library = Mlstm(sys.argv[1])

    def median_ms(function, times=20):
        results = []
        for _ in range(times + 3):
            flush.zero_()
            results.append(library.library.milliseconds(function, repeats=1, warm=0, inner=1))
        return sorted(results[3:])[times // 2]

    flush = torch.empty(256 << 20, dtype=torch.uint8, device='cuda')
    a, b = torch.randn(2, 8192, 8192, device='cuda', dtype=torch.bfloat16)
    rate = 2 * 8192 ** 3 / median_torch_ms(lambda: a @ b, flush) / 1e9  # TFLOP/s
    source = torch.empty(1 << 30, dtype=torch.uint8, device='cuda')
    target = torch.empty_like(source)
    copy = 2 * (1 << 30) / median_torch_ms(lambda: target.copy_(source), flush) / 1e6  # GB/s
    del a, b, source, target
    print(f'{torch.cuda.get_device_name()}: product {rate:.0f} TFLOP/s, copy {copy:.0f} GB/s')
    print(f'{"B,T,NH,DK,DV":>22} {"":8} {"ms":>8} {"TFLOP/s":>8} {"GB/s":>6} {"of floor":>8}')

    def report(sizes, what, ms, flops, size):
        floor = max(flops / rate / 1e9, size / copy / 1e6)
        print(f'{",".join(map(str, sizes)):>22} {what:8} {ms:8.3f} {flops / ms / 1e9:8.1f} {size / ms / 1e6:6.0f} '
              f'{floor / ms:8.1%}', flush=True)

    for sizes in SIZES:
        B, T, NH, DK, DV = sizes
        x = random_inputs(*sizes, torch.bfloat16, states=False, cotangents=False)
        out = empty_outputs(x)
        grad = gradients(x, torch.zeros_like)
        forward = lambda: library.forward(out, x, 1e-6, 0, True)
        backward = lambda: library.backward(grad, out, x, 1e-6, 0, True)
        steps = B * T * NH
        flops = steps * (2 * 64 * (DK + DV) + 4 * DK * DV)
        first, second = median_ms(forward), median_ms(backward)
        report(sizes, 'forward', first, flops, steps * (4 * DK + 4 * DV + 16))
        report(sizes, 'backward', second, 2.7 * flops, steps * (12 * DK + 12 * DV + 32))
        print(f'{"":22} both     {first + second:8.3f}')
        if '--kernels' in sys.argv and sizes in (SIZES[0], SIZES[1]):
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                forward()
                backward()
                torch.cuda.synchronize()
            for event in sorted(profile.events(), key=lambda e: e.time_range.start):
                if 'mlstm' in event.name:
                    print(f'    {event.time_range.elapsed_us():9.1f} us  {event.name.split("(xl::mlstm::Shape")[0]}')
        del x, out, grad
    for B, NH, DK, DV in STEPS:
        full = random_inputs(B, 1, NH, DK, DV, torch.bfloat16)
        x = {name: full[name][:, 0].contiguous() for name in 'qkvif'}
        x.update({name: full[name] for name in ('Cin', 'nin', 'min')})
        out = {'h': torch.empty_like(x['v']), 'Cout': x['Cin'], 'nout': x['nin'], 'mout': x['min']}
        ms = median_ms(lambda: library.step(out, x, 1e-6, 0, True))
        report((B, NH, DK, DV), 'step', ms, B * NH * 5 * DK * DV, B * NH * 8 * DK * DV)


if __name__ == '__main__':
    main()

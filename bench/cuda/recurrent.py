"""Times the recurrent CUDA kernels: python recurrent.py LIBRARY. Run test/cuda/check_recurrent.py first.

Per line: forward and backward in ms (median, by events), us per step, the floor that the device's memory sets (every
input read and every output written once; forward with what backward reads) and its share of the time. Inputs are random
and larger than the cache.
"""

import os
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../test/cuda"))
from recurrent_library import SAVED, backward, call, forward  # noqa: E402
from library import Library  # noqa: E402

SETTINGS = [
    ("slstm", torch.bfloat16, 16, 1024, 4, 256),
    ("slstm", torch.bfloat16, 8, 1024, 4, 256),
    ("slstm", torch.bfloat16, 32, 1024, 4, 256),
    ("slstm", torch.bfloat16, 64, 1024, 4, 256),
    ("slstm", torch.bfloat16, 16, 1024, 4, 192),
    ("slstm", torch.bfloat16, 16, 2048, 4, 192),
    ("slstm", torch.bfloat16, 64, 512, 8, 64),
    ("lstm", torch.bfloat16, 16, 1024, 4, 256),
    ("lstm", torch.bfloat16, 16, 1024, 1, 768),
    ("lstm", torch.bfloat16, 16, 1024, 1, 1024),
    ("slstm", torch.float32, 16, 512, 4, 256),
    ("lstm", torch.float32, 16, 256, 1, 768),
]
BANDWIDTH = 3.03e12


def measure(library, cell, dtype, B, T, NH, DH, profile=False):
    x = [torch.randn(B, T, NH, DH, device="cuda").to(dtype) for _ in range(4)]
    R, b = 0.5 * torch.randn(NH, 4, DH, DH, device="cuda") / DH**0.5, torch.randn(4, NH, DH, device="cuda")
    dh = torch.randn(B, T, NH, DH, device="cuda").to(dtype)
    h, state, saved = forward(library, cell, x, R, b, None, None)
    gradients = [torch.zeros_like(v) for v in x] + [torch.zeros_like(R), torch.zeros_like(b), None]
    name = f"xl_{cell}_forward{'_bf16' if dtype == torch.bfloat16 else ''}"
    run_forward = lambda: call(library, name, [h, state, saved, *x, R, b, None, None], h.shape)  # noqa: E731
    run_backward = lambda: backward(library, cell, gradients, dh, None, h, saved, R, None, None)  # noqa: E731
    times = [library.milliseconds(run, repeats=7, warm=1, inner=1) for run in (run_forward, run_backward)]
    size, units = x[0].element_size(), B * T * NH * DH
    floors = [units * bytes / BANDWIDTH * 1e3 for bytes in (5 * size + 4 * SAVED[cell], 10 * size + 4 * SAVED[cell])]
    line = f"{cell:5} {str(dtype)[6:]:8} B{B} T{T} {NH}x{DH}:"
    for what, ms, floor in zip(("forward", "backward"), times, floors):
        line += f" {what} {ms:.3f} ms, {ms * 1e3 / T:.2f} us/step, floor {floor:.3f} ({floor / ms:.0%});"
    print(line + f" both {sum(times):.2f} ms", flush=True)
    if profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
            run_forward(), run_backward()
            torch.cuda.synchronize()
        for event in found.key_averages():
            if "xl::" in event.key:
                print(f"      {event.key[:70]:70} {event.device_time / 1e3:.3f} ms")


if __name__ == "__main__":
    lib = Library(sys.argv[1])
    print(torch.cuda.get_device_name())
    for index, setting in enumerate(SETTINGS):
        measure(lib, *setting, profile=index in (0, 3, 4, 8, 9))

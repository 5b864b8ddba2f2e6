"""Products of CPU libraries and of torch.mm in turns, call by call: what to look at when a kernel changes.

    taskset -c 0 python3 bench/peers/products.py [--threads 1] [--seconds 0.8] [--only NAME,...] LIBRARY...

A library is build/native/PLATFORM/libxl_cpu.so, or a copy from before a change. Each product is first compared with float64,
at odd sizes too. Rates are the medians of all calls in GFLOP/s, in brackets those that a tenth of the calls stay below and
above; the ratio is the median of torch's time over that of the library's call in the same turn. With two threads,
KMP_BLOCKTIME=0 keeps torch's idle threads from taking a processor.
"""
import argparse
import ctypes
import itertools
import os
import random
import time

import torch

SHAPES = {  # M, N, K, whether A and B are transposed
    'up NT': (4096, 704, 256, False, True), 'down NT': (4096, 256, 704, False, True),
    'q NT': (4096, 256, 256, False, True), 'dx NN': (4096, 256, 704, False, False),
    'dW up TN': (704, 256, 4096, True, False), 'dW q TN': (256, 256, 4096, True, False),
    'square NN': (1024, 1024, 1024, False, False), 'square NT': (1024, 1024, 1024, False, True),
    'prefill up NT': (512, 2048, 768, False, True), 'prefill down NT': (512, 768, 2048, False, True),
    'small NN': (512, 64, 256, False, False), 'small NT': (512, 64, 256, False, True), 'small TN': (512, 64, 256, True, False),
    'mlp NT': (2048, 1024, 256, False, True), 'dW mlp TN': (512, 1024, 2048, True, False),
    'even NN': (2048, 768, 768, False, False), 'odd NN': (2047, 769, 763, False, False),
    'even NT': (2048, 768, 768, False, True), 'odd NT': (2047, 769, 763, False, True),
    'even TN': (2048, 768, 768, True, False), 'odd TN': (2047, 769, 763, True, False),
}
ODD = [(130, 201, 77), (7, 50, 33), (300, 47, 900), (97, 400, 1000), (33, 1000, 500), (260, 17, 300)]


def operands(M, N, K, trans_a, trans_b):
    return torch.randn((K, M) if trans_a else (M, K)), torch.randn((N, K) if trans_b else (K, N))


def multiply(library, c, a, b, bias, M, N, K, trans_a, trans_b, accumulate=False):
    """c [M,N] = op(a) op(b) + bias, added to c with `accumulate`."""
    size, flag = ctypes.c_int64, ctypes.c_int32
    pointers = [ctypes.c_void_p(x.data_ptr()) if x is not None else None for x in (c, a, b, bias)]
    status = library.xl_matmul(*pointers, size(M), size(N), size(K), flag(trans_a), flag(trans_b),
                               size(M if trans_a else K), size(K if trans_b else N), size(N), flag(accumulate), flag(0))
    if status != 0:
        raise RuntimeError(f'xl_matmul: status {status}')


def check(name, found, wanted):
    error = ((found - wanted).norm() / wanted.norm()).item()
    if not error <= 1e-6:
        raise RuntimeError(f'{name}: relative RMS {error}')


def check_odd(name, library):
    for M, N, K in ODD:
        for trans_a, trans_b, accumulate in itertools.product([False, True], repeat=3):
            a, b = operands(M, N, K, trans_a, trans_b)
            bias, c = torch.randn(N), torch.randn(M, N)
            left, right = (a.t() if trans_a else a).double(), (b.t() if trans_b else b).double()
            wanted = left @ right + bias + (c if accumulate else 0)
            multiply(library, c, a, b, bias, M, N, K, trans_a, trans_b, accumulate)
            check(f'{name} {M}x{N}x{K}', c, wanted)


def take_turns(calls, seconds):
    """Times of each call. Turns are in any order, and each time the second of two calls counts: the threads of the first
    would still be asleep, and those of the contender before it still running."""
    times = [[] for _ in calls]
    start = time.perf_counter()
    while time.perf_counter() - start < seconds * len(calls):
        for which in random.sample(range(len(calls)), len(calls)):
            calls[which]()
            begin = time.perf_counter()
            calls[which]()
            times[which].append(time.perf_counter() - begin)
    return times


def quantile(values, q):
    return sorted(values)[int(q * (len(values) - 1))]


def measure(libraries, shape, seconds):
    M, N, K, trans_a, trans_b = shape
    a, b = operands(*shape)
    c = torch.empty(M, N)
    left, right = a.t() if trans_a else a, b.t() if trans_b else b
    wanted = left.double() @ right.double()
    calls = {'torch': lambda: torch.mm(left, right, out=c)}
    for name, library in libraries.items():
        calls[name] = lambda library=library: multiply(library, c, a, b, None, *shape)
    for name, call in calls.items():
        c.zero_()
        call()
        check(name, c, wanted)
    times = take_turns(list(calls.values()), seconds)
    cells = []
    for name, own in zip(calls, times):
        rate = [2e-9 * M * N * K / quantile(own, q) for q in (0.5, 0.9, 0.1)]
        ratio = quantile([peer / mine for peer, mine in zip(times[0], own)], 0.5)
        cells.append(f'{name} {rate[0]:.0f} ({rate[1]:.0f}-{rate[2]:.0f}) x{ratio:.3f}')
    return ' | '.join(cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('library', nargs='+')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seconds', type=float, default=0.8, help='of the calls of each library and shape')
    parser.add_argument('--only', default=','.join(SHAPES), help='names of shapes: ' + ', '.join(SHAPES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    libraries = {}
    for path in options.library:
        library = ctypes.CDLL(os.path.abspath(path))
        library.xl_set_threads(options.threads)
        name = os.path.splitext(os.path.basename(path))[0]
        libraries[name if name not in libraries else path] = library
        check_odd(path, library)
    print(f'{len(ODD) * 8} odd products of each library are right')
    for name in options.only.split(','):
        print(name.ljust(16), measure(libraries, SHAPES[name], options.seconds), flush=True)


main()

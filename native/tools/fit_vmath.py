"""Prints the coefficients of native/cpu/vmath.h with the error of each fit. Needs numpy and mpmath; no part of the build.

A fit is the polynomial c(x) that makes max |c(x) - target(x)| weight(x) small on an interval: weighted least squares on
Chebyshev points, repeated with each point's weight multiplied by the size of its error (Lawson's iteration). The
coefficients are rounded to float32 one at a time, lowest degree first, and the rest is fitted again after each, so that
the later ones make up for the rounding of the earlier ones.
"""

import numpy as np
from mpmath import erfc, exp, expm1, log, log1p, mp, mpf, sqrt

mp.dps = 40


def lawson(x, y, weight, first, count):
    """c_first .. c_{first+count-1} for the points (x, y), after 300 iterations."""
    basis = np.vander(x, first + count, increasing=True)[:, first:]
    emphasis = np.ones_like(x) / len(x)
    best, smallest = None, np.inf
    for _ in range(300):
        scale = np.sqrt(emphasis) * weight
        c = np.linalg.lstsq(basis * scale[:, None], y * scale, rcond=None)[0]
        error = np.abs(basis @ c - y) * weight
        if error.max() < smallest:
            best, smallest = c, error.max()
        emphasis = emphasis * error
        emphasis /= emphasis.sum()
    return best


def fit(name, target, weight, low, high, count, points=600):
    low, high = float(low), float(high)
    x = (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(points) + 0.5) / points)
    y = np.array([float(target(mpf(v))) for v in x])
    w = np.array([float(weight(mpf(v))) for v in x])
    rounded = []
    while len(rounded) < count:
        rest = y - sum((c * x**k for k, c in enumerate(rounded)), np.zeros_like(x))
        rounded.append(float(np.float32(lawson(x, rest, w, len(rounded), count - len(rounded))[0])))
    error = np.abs(sum(c * x**k for k, c in enumerate(rounded)) - y) * w
    print(f'{name}: largest weighted error {error.max():.2e} = 2^{np.log2(error.max()):.1f}')
    print('  ' + ', '.join(f'{c:.9g}f' for c in rounded))


if __name__ == '__main__':
    half = log(2) / 2 * mpf('1.001')
    fit('e^r = 1 + r + r^2 P(r), relative to e^r - 1', lambda r: (expm1(r) - r) / r**2,
        lambda r: abs(r**2 / expm1(r)), -half, half, 5)
    fit('log(1 + f) = f - f^2/2 + f^3 P(f), relative', lambda f: (log1p(f) - f + f**2 / 2) / f**3,
        lambda f: abs(f**3 / log1p(f)), sqrt(mpf(1) / 2) - 1, sqrt(mpf(2)) - 1, 8)
    # e^(y^2/2) Phi(-y) = P(t) / (y + k), t = (y - k) / (y + k), relative, for 0 <= y <= 13.5
    k, last = mpf('3.75'), mpf('13.5')

    def tail(t):
        y = k * (1 + t) / (1 - t)
        return erfc(y / sqrt(mpf(2))) / 2 * exp(y * y / 2) * (y + k)

    fit('e^(y^2/2) Phi(-y) (y + k)', tail, lambda t: 1 / tail(t), -1, (last - k) / (last + k), 9)

"""Compares the mLSTM kernels of a CUDA library with their definition in float64, step by step, gradients by autograd.

    python3 test/cuda/check_mlstm.py LIBRARY [--small]

The measure is RMS(error) / RMS(reference) of each result. float32 must come within 2e-5 (sums of some hundred terms
in another order; gradients of gates, which are differences of sums, 1e-4). bf16 is compared with the definition at
the same rounded inputs: scores, states and results are each rounded to 8 bits (2^-9 = 2e-3 at most, 1.1e-3 RMS) on
their way, three to four times, so 6e-3, and twice that for gates and for what the cotangent of the normaliser decides
(dnin: it is a product dh . h with h as it was rounded). With extreme gates a step often sees one input alone; what
then comes through the numerator and through the normaliser cancels up to the rounding of h, and what is left is as
inexact as 5e-2; dmin, one number a head, is all such a remainder where the state weighs much: 3e-2. Outputs start as
NaN, as does the workspace; each case runs twice and must give the same bits; gradients are added to what is there.
"""
import sys

import torch

from mlstm_library import Mlstm, empty_outputs, gradients, random_inputs

EXPONENTIAL, SIGMOID = 0, 1


class Quotient(torch.autograd.Function):
    """h = numerator / (max(|a|, exp(-m)) + eps), with gradients that stay finite where exp(-m) is not."""

    @staticmethod
    def forward(ctx, numerator, a, m, eps):
        denominator = torch.maximum(a.abs(), torch.exp(-m)) + eps
        h = numerator / denominator[..., None]
        ctx.save_for_backward(h, a, m, denominator)
        ctx.eps = eps
        return h, denominator

    @staticmethod
    def backward(ctx, dh, _):
        h, a, m, denominator = ctx.saved_tensors
        product = (dh * h).sum(-1)
        active = a.abs() >= torch.exp(-m)
        da = torch.where(active, -product / denominator * torch.sign(a), 0.0)
        dm = torch.where(active, 0.0, product / (1 + ctx.eps * torch.exp(m)))
        return dh / denominator[..., None], da, dm, None


def definition(x, eps, gate, normalize):
    """All of forward, differentiable, in float64."""
    B, T, NH, DK = x['q'].shape
    DV = x['v'].shape[3]
    fresh = -torch.inf if gate == EXPONENTIAL else 0.0
    zeros = {'dtype': torch.float64, 'device': 'cuda'}
    C = x['Cin'] if x['Cin'] is not None else torch.zeros(B, NH, DK, DV, **zeros)
    n = x['nin'] if x['nin'] is not None else torch.zeros(B, NH, DK, **zeros)
    m = x['min'] if x['min'] is not None and gate == EXPONENTIAL else torch.full((B, NH), fresh, **zeros)
    h, ms, denominators = [], [], []
    for t in range(T):
        if x['reset'] is not None:
            cut = x['reset'][:, t, None].bool()
            C = torch.where(cut[..., None, None], 0.0, C)
            n = torch.where(cut[..., None], 0.0, n)
            m = torch.where(cut, fresh, m)
        q, k, v, i, f = (x[name][:, t] for name in 'qkvif')
        q = q / DK ** 0.5
        if gate == EXPONENTIAL:
            forget = torch.nn.functional.logsigmoid(f) + m
            m = torch.where(i >= forget, i, forget)
            i, f = torch.exp(i - m), torch.exp(forget - m)
        else:
            i, f = torch.sigmoid(i), torch.sigmoid(f)
        C = f[..., None, None] * C + i[..., None, None] * k[..., :, None] * v[..., None, :]
        n = f[..., None] * n + i[..., None] * k
        numerator = torch.einsum('bhd,bhde->bhe', q, C)
        denominator = torch.ones_like(m)
        if normalize:
            numerator, denominator = Quotient.apply(numerator, (q * n).sum(-1), m, eps)
        h.append(numerator)
        ms.append(m)
        denominators.append(denominator)
    if T == 0:
        return {'h': x['v'] * 1, 'm': x['i'] * 1, 'denominator': x['i'] * 1, 'Cout': C, 'nout': n, 'mout': m}
    return {'h': torch.stack(h, 1), 'm': torch.stack(ms, 1), 'denominator': torch.stack(denominators, 1), 'Cout': C,
            'nout': n, 'mout': m}


def error(value, reference):
    value, reference = value.double(), reference.detach().double()
    if value.numel() == 0:
        return 0.0
    infinite = reference.abs() > 3e38
    if not torch.equal(torch.where(infinite, value, 0.0).abs() > 3e38, infinite):
        return float('nan')
    value, reference = torch.where(infinite, 0.0, value), torch.where(infinite, 0.0, reference)
    return float((value - reference).norm() / max(float(reference.norm()), 1e-6 * value.numel() ** 0.5))


def same(a, b):
    return all(p is None or torch.equal(p.view(torch.uint8), b[name].view(torch.uint8)) for name, p in a.items())


def check(library, sizes, dtype, gate=EXPONENTIAL, normalize=True, eps=1e-6, start=0.0, **options):
    x = random_inputs(*sizes, dtype, **options)
    exact = {name: value if value is None or name == 'reset' else value.double() for name, value in x.items()}
    inputs = [name for name in ('q', 'k', 'v', 'i', 'f', 'Cin', 'nin', 'min') if exact[name] is not None]
    if gate == SIGMOID and 'min' in inputs:
        inputs.remove('min')
    for name in inputs:
        exact[name].requires_grad_()
    reference = definition(exact, eps, gate, normalize)
    total = (reference['h'] * exact['dh']).sum()
    for name in ('C', 'n', 'm'):
        if exact[f'd{name}out'] is not None and not (name == 'm' and gate == SIGMOID):
            finite = torch.where(torch.isfinite(reference[f'{name}out']), reference[f'{name}out'], 0.0)
            total = total + (finite * exact[f'd{name}out']).sum()
    slopes = dict(zip(inputs, torch.autograd.grad(total, [exact[name] for name in inputs], allow_unused=True)))

    initial = gradients(x, lambda p: start * torch.randn_like(p))
    runs = []
    for _ in range(2):
        out = empty_outputs(x)
        library.forward(out, x, eps, gate, normalize)
        grad = {name: None if p is None else p.clone() for name, p in initial.items()}
        library.backward(grad, out, x, eps, gate, normalize)
        torch.cuda.synchronize()
        runs.append((out, grad))
    (out, grad), (out2, grad2) = runs
    result = {name: error(out[name], reference[name]) for name in out}
    for name in inputs:
        slope = slopes[name] if slopes[name] is not None else torch.zeros_like(exact[name])
        result['d' + name] = error(grad['d' + name], slope + initial['d' + name].double())
    return result, same(out, out2) and same(grad, grad2)


def check_step(library, sizes, dtype, gate, normalize, eps=1e-6):
    B, NH, DK, DV = sizes
    x = random_inputs(B, 1, NH, DK, DV, dtype)
    exact = {name: value if value is None else value.double() for name, value in x.items()}
    reference = definition(exact, eps, gate, normalize)
    one = {name: x[name][:, 0].contiguous() for name in 'qkvif'}
    state = {name: x[name].clone() for name in ('Cin', 'nin', 'min')}
    out = {'h': torch.full((B, NH, DV), torch.nan, device='cuda', dtype=dtype), 'Cout': state['Cin'],
           'nout': state['nin'], 'mout': state['min']}  # in place
    library.step(out, {**one, **state}, eps, gate, normalize)
    torch.cuda.synchronize()
    result = {name: error(out[name], reference[name][:, 0] if name == 'h' else reference[name])
              for name in ('h', 'Cout', 'nout', 'mout')}
    return result, True


def check_long(library, sizes, dtype):
    """Long sequences, where the definition would take too much memory: bf16 against the float32 version."""
    x = random_inputs(*sizes, dtype, resets=0.0005)
    results = []
    for kind in (dtype, torch.float32):
        y = {name: value.to(kind) if value is not None and value.dtype == dtype else value for name, value in x.items()}
        out, grad = empty_outputs(y), gradients(y, torch.zeros_like)
        library.forward(out, y, 1e-6, EXPONENTIAL, True)
        library.backward(grad, out, y, 1e-6, EXPONENTIAL, True)
        results.append({**out, **grad})
    torch.cuda.synchronize()
    return {name: error(value, results[1][name]) for name, value in results[0].items()}, True


def cases(small):
    """Sizes [B,T,NH,DK,DV] and options."""
    f32, bf16 = torch.float32, torch.bfloat16
    yield (1, 0, 2, 16, 16), f32, {}
    yield (2, 1, 1, 1, 1), f32, {}
    yield (1, 5, 2, 3, 7), f32, dict(states=False, cotangents=False)
    yield (2, 65, 3, 17, 33), f32, dict(resets=0.05, start=1.0)
    yield (1, 70, 2, 33, 20), bf16, dict(resets=0.05)
    for gate in (EXPONENTIAL, SIGMOID):
        for normalize in (True, False):
            for states in (True, False):
                options = dict(gate=gate, normalize=normalize, states=states, cotangents=states)
                yield (1, 150, 2, 24, 40), f32, options
                yield (2, 200, 2, 64, 64), bf16, dict(options, resets=0.02)
    yield (1, 300, 2, 96, 192), bf16, dict(start=1.0)
    if small:
        return
    for gates in ('shut', 'extreme'):
        for gate in (EXPONENTIAL, SIGMOID):
            yield (2, 300, 2, 32, 48), f32, dict(gates=gates, gate=gate, resets=0.01)
            yield (2, 300, 2, 96, 192), bf16, dict(gates=gates, gate=gate, resets=0.01)
            yield (1, 600, 2, 256, 128), bf16, dict(gates=gates, gate=gate)
    for dtype in (f32, bf16):
        yield (2, 300, 2, 96, 192), dtype, dict(states=False, cotangents=False)
        yield (1, 257, 2, 128, 128), dtype, dict(eps=0.1)
        yield (1, 520, 2, 256, 512), dtype, dict(resets=0.004)
        yield (1, 1024, 1, 256, 512), dtype, dict(states=False, cotangents=False)
        yield (2, 384, 1, 384, 384), dtype, {}
        yield (1, 300, 1, 512, 512), dtype, {}
        yield (1, 400, 3, 160, 320), dtype, dict(resets=0.01)
        yield (1, 130, 1, 16, 16), dtype, {}
        yield (1, 130, 1, 48, 528), dtype, {}
        yield (40, 256, 4, 128, 128), dtype, {}
        yield (33, 300, 4, 160, 96), dtype, dict(resets=0.01)


def main():
    library = Mlstm(sys.argv[1])
    library.library.call('xl_poison_workspace', 1)
    small, failures, worst = '--small' in sys.argv, 0, {}
    todo = [(check, *case) for case in cases(small)]
    for dtype in (torch.float32, torch.bfloat16):
        for gate, normalize in ((EXPONENTIAL, True), (SIGMOID, True), (EXPONENTIAL, False)):
            for sizes in ((2, 3, 5, 7), (1, 8, 256, 512), (3, 2, 96, 192)):
                todo.append((check_step, sizes, dtype, dict(gate=gate, normalize=normalize)))
    if not small:
        todo += [(check_long, sizes, torch.bfloat16, {}) for sizes in ((1, 8192, 2, 256, 512), (2, 4000, 4, 96, 192))]
    for function, sizes, dtype, options in todo:
        result, same_bits = function(library, sizes, dtype, **options)
        bad = []
        for name, value in result.items():
            limit = 2e-5 if dtype == torch.float32 else 6e-3
            limit *= (5 if dtype == torch.float32 else 2) if name in ('di', 'df', 'dmin', 'dnin') else 1
            if name == 'dmin' and dtype == torch.bfloat16:
                limit = 3e-2
            if name in ('dq', 'dk', 'di', 'df') and options.get('gates') == 'extreme' and dtype == torch.bfloat16:
                limit = 5e-2
            if not value <= limit:
                bad.append(f'{name} {value:.1e}')
            key = (str(dtype)[6:], name)
            worst[key] = max(worst.get(key, 0.0), value)
        if bad or not same_bits:
            failures += 1
            print('FAILED', function.__name__, sizes, str(dtype)[6:], options, *bad, '' if same_bits else 'BITS DIFFER')
    for dtype in ('float32', 'bfloat16'):
        print(dtype, 'worst:', *[f'{name} {value:.1e}' for (d, name), value in worst.items() if d == dtype])
    print(f'{len(todo) - failures} of {len(todo)} cases right')
    sys.exit(failures > 0)


if __name__ == '__main__':
    main()

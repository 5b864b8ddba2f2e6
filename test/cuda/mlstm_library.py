"""The mLSTM kernels of the CUDA library on torch tensors; for check_mlstm.py and bench/cuda/mlstm.py."""
import torch

from library import Library


class Mlstm:
    """q, k [B,T,NH,DK], v [B,T,NH,DV], i, f [B,T,NH]; states C [B,NH,DK,DV], n [B,NH,DK], m [B,NH]."""

    def __init__(self, path):
        self.library = Library(path)

    def call(self, name, dtype, pointers, sizes, eps, gate, normalize):
        suffix = '_bf16' if dtype == torch.bfloat16 else ''
        self.library.run(name + suffix, *pointers, *sizes, eps, gate, int(normalize))

    def forward(self, out, x, eps, gate, normalize, chunk=64):
        B, T, NH, DK = x['q'].shape
        pointers = [out[n] for n in ('h', 'm', 'denominator', 'Cout', 'nout', 'mout')]
        pointers += [x[n] for n in ('q', 'k', 'v', 'i', 'f', 'Cin', 'nin', 'min', 'reset')]
        self.call('xl_mlstm_forward', x['q'].dtype, pointers, [B, T, NH, DK, x['v'].shape[3], chunk], eps, gate,
                  normalize)

    def backward(self, grad, out, x, eps, gate, normalize, chunk=64):
        B, T, NH, DK = x['q'].shape
        pointers = [grad[n] for n in ('dq', 'dk', 'dv', 'di', 'df', 'dCin', 'dnin', 'dmin')]
        pointers += [x[n] for n in ('dh', 'dCout', 'dnout', 'dmout')]
        pointers += [x[n] for n in ('q', 'k', 'v', 'i', 'f', 'Cin', 'nin', 'min', 'reset')]
        pointers += [out[n] for n in ('h', 'm', 'denominator')]
        self.call('xl_mlstm_backward', x['q'].dtype, pointers, [B, T, NH, DK, x['v'].shape[3], chunk], eps, gate,
                  normalize)

    def step(self, out, x, eps, gate, normalize):
        B, NH, DK = x['q'].shape
        pointers = [out[n] for n in ('h', 'Cout', 'nout', 'mout')]
        pointers += [x[n] for n in ('q', 'k', 'v', 'i', 'f', 'Cin', 'nin', 'min')]
        self.call('xl_mlstm_step', x['q'].dtype, pointers, [B, NH, DK, x['v'].shape[2]], eps, gate, normalize)


def random_inputs(B, T, NH, DK, DV, dtype, gates='open', states=True, cotangents=True, resets=0.0, seed=0):
    """Inputs on the GPU. Gates: 'open' (f~ about 3), 'shut' (f~ about -4), 'extreme' (some are +-1e4)."""
    generator = torch.Generator('cuda').manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, device='cuda')

    x = {'q': normal(B, T, NH, DK), 'k': normal(B, T, NH, DK), 'v': normal(B, T, NH, DV), 'dh': normal(B, T, NH, DV)}
    x = {name: value.to(dtype) for name, value in x.items()}
    x['i'] = normal(B, T, NH)
    x['f'] = 1.5 * normal(B, T, NH) + (-4 if gates == 'shut' else 3)
    if gates == 'extreme':
        for name in 'if':
            wild = torch.rand(B, T, NH, generator=generator, device='cuda')
            x[name] = torch.where(wild < 0.05, 1e4, torch.where(wild > 0.9, -1e4, x[name]))
    state = {'Cin': normal(B, NH, DK, DV), 'nin': normal(B, NH, DK), 'min': normal(B, NH)}
    cotangent = {'dCout': normal(B, NH, DK, DV), 'dnout': normal(B, NH, DK), 'dmout': normal(B, NH)}
    x.update({name: value if states else None for name, value in state.items()})
    x.update({name: value if cotangents else None for name, value in cotangent.items()})
    reset = torch.rand(B, T, generator=generator, device='cuda') < resets
    x['reset'] = reset.to(torch.uint8) if resets else None
    return x


def empty_outputs(x):
    """Outputs of the forward pass full of NaN."""
    B, T, NH, DK = x['q'].shape
    DV = x['v'].shape[3]
    nan = {'device': 'cuda', 'dtype': torch.float32}
    out = {'h': torch.full((B, T, NH, DV), torch.nan, device='cuda', dtype=x['q'].dtype)}
    for name, shape in {'m': (B, T, NH), 'denominator': (B, T, NH), 'Cout': (B, NH, DK, DV), 'nout': (B, NH, DK),
                        'mout': (B, NH)}.items():
        out[name] = torch.full(shape, torch.nan, **nan)
    return out


def gradients(x, start):
    """Gradients to add to: `start(tensor)` for each."""
    names = {'dq': 'q', 'dk': 'k', 'dv': 'v', 'di': 'i', 'df': 'f', 'dCin': 'Cin', 'dnin': 'nin', 'dmin': 'min'}
    return {to: None if x[of] is None else start(x[of]) for to, of in names.items()}

"""The recurrent kernels of the CUDA library as functions of torch tensors, and their definition in float64.

What the kernels compute is defined by src/device/reference/slstm.ts and lstm.ts; `reference` says the same in torch, step
by step, so that autograd gives the gradients.
"""

import torch

from library import Library

SAVED = {"slstm": 7, "lstm": 6}
STATES = {"slstm": 4, "lstm": 2}


def call(library: Library, name, tensors, sizes):
    library.run(name, *tensors, *sizes)


def forward(library, cell, x, recurrent, bias, state, reset, keep=True, poison=float("nan")):
    """h [B,T,NH,DH], the last state, and what backward reads. x is [i, f, z, o]."""
    B, T, NH, DH = x[0].shape
    h = torch.full_like(x[0], poison)
    state_out = torch.full((STATES[cell], B, NH, DH), poison, device=h.device)
    saved = torch.full((SAVED[cell] * B * T * NH * DH,), poison, device=h.device) if keep else None
    suffix = "_bf16" if h.dtype == torch.bfloat16 else ""
    call(library, f"xl_{cell}_forward{suffix}", [h, state_out, saved, *x, recurrent, bias, state, reset], (B, T, NH, DH))
    return h, state_out, saved


def backward(library, cell, gradients, dh, dstate, h, saved, recurrent, state, reset):
    """Adds into gradients = [di, df, dz, do, drecurrent, dbias, dstate_in]."""
    suffix = "_bf16" if h.dtype == torch.bfloat16 else ""
    call(library, f"xl_{cell}_backward{suffix}", [*gradients, dh, dstate, h, saved, recurrent, state, reset], tuple(h.shape))


def reference(cell, x, recurrent, bias, state, reset):
    """The definition; x is [i, f, z, o] of [B,T,NH,DH]."""
    B, T, NH, DH = x[0].shape
    if state is None:
        fresh = torch.zeros(B, NH, DH, dtype=x[0].dtype, device=x[0].device)
        state = [fresh, fresh, fresh - float("inf"), fresh] if cell == "slstm" else [fresh, fresh]
    state = list(state)
    initial = [0.0, 0.0, -float("inf"), 0.0] if cell == "slstm" else [0.0, 0.0]
    hs = []
    for t in range(T):
        if reset is not None:
            here = reset[:, t].bool()[:, None, None]
            state = [torch.where(here, torch.full_like(s, v), s) for s, v in zip(state, initial)]
        # [4,B,NH,DH]
        products = torch.einsum("bki,kgji->gbkj", state[-1], recurrent)
        g = [x[n][:, t] + products[n] + (0 if bias is None else bias[n]) for n in range(4)]
        if cell == "slstm":
            c, n, m, _ = state
            forget = torch.nn.functional.logsigmoid(g[1]) + m
            m = torch.maximum(forget, g[0])
            i, f = torch.exp(g[0] - m), torch.exp(forget - m)
            c, n = f * c + i * torch.tanh(g[2]), f * n + i
            h = torch.sigmoid(g[3]) * c / n
            state = [c, n, m, h]
        else:
            i, f, z, o = torch.sigmoid(g[0]), torch.sigmoid(g[1]), torch.tanh(g[2]), torch.sigmoid(g[3])
            c = f * state[0] + i * z
            h = o * torch.tanh(c)
            state = [c, h]
        hs.append(h)
    h = torch.stack(hs, 1) if hs else torch.zeros(B, 0, NH, DH, dtype=x[0].dtype, device=x[0].device)
    return h, torch.stack(state)

"""Records what the naive functions of flash-linear-attention compute, for test/ops/golden-fla.test.ts.

    pip install torch einops safetensors flash-linear-attention==0.6.0
    python test/golden/record_fla.py test/fixtures/golden/fla

Writes one small safetensors file per function: random inputs, the outputs o and S (the last state), cotangents of both
and the gradients of every input by autograd, all in float64 and in the layout [B,T,H,...]. The functions cast to
float32 on their way; the casts are turned into casts to float64, so that the numbers are good to 1e-15.
"""

import importlib
import importlib.metadata
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

B, T, H, K, V = 2, 37, 2, 5, 7


def naive(module: str, function: str):
    return getattr(importlib.import_module(f"fla.ops.{module}"), function)


# Loaded before float32 is taken away: other parts of the package keep tables of types.
FUNCTIONS = {
    "delta_rule": naive("delta_rule.naive", "delta_rule_recurrence"),
    "gated_delta_rule": naive("gated_delta_rule.naive", "naive_recurrent_gated_delta_rule"),
    "dplr": naive("generalized_delta_rule.dplr.naive", "dplr_recurrence"),
    "gla": naive("gla.naive", "naive_recurrent_gla"),
    "simple_gla": naive("simple_gla.naive", "naive_recurrent_simple_gla"),
    "rwkv6": naive("rwkv6.recurrent_naive", "naive_recurrent_rwkv6"),
    "linear_attention": naive("linear_attn.naive", "naive_recurrent_linear_attn"),
    "retention": naive("retention.naive", "naive_retention"),
    "hgrn": naive("hgrn.naive", "naive_recurrent_hgrn"),
}


def heads_first(function):
    """The function in the layout [B,T,H,...] of one that takes and gives [B,H,T,...]."""

    def wrapped(*tensors, **options):
        result = function(*(x.transpose(1, 2) for x in tensors), **options)
        if torch.is_tensor(result):
            return result.transpose(1, 2)
        return result[0].transpose(1, 2), result[1]

    return wrapped


def rwkv6(q, k, v, w, u, initial_state):
    function = FUNCTIONS["rwkv6"]
    tensors = [x.transpose(1, 2) for x in (q, k, v, w)]
    o, S = function(*tensors, u, scale=1.0, initial_state=initial_state, output_final_state=True)
    return o.transpose(1, 2), S


def linear_attention(q, k, v, S0, z0):
    state = (S0, z0)
    o, (S, z) = FUNCTIONS["linear_attention"](q, k, v, initial_state=state, output_final_state=True, normalize=True)
    return o, S, z


def draw(generator: torch.Generator) -> dict[str, dict[str, torch.Tensor]]:
    """Inputs by function, in the order of its arguments; `S0` is the initial state."""

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def keys():
        return torch.nn.functional.normalize(normal(B, T, H, K), dim=-1)

    def log_decay(*shape):
        return -0.2 * normal(*shape) ** 2

    def qkv(k=None):
        return {"q": normal(B, T, H, K), "k": normal(B, T, H, K) if k is None else k, "v": normal(B, T, H, V)}

    def rate():
        return torch.sigmoid(normal(B, T, H))

    state = {"S0": normal(B, H, K, V)}
    b = keys()
    return {
        "delta_rule": {**qkv(keys()), "beta": rate(), **state},
        "gated_delta_rule": {**qkv(keys()), "beta": rate(), "g": log_decay(B, T, H), **state},
        "dplr": {**qkv(), "b": b, "a": -rate()[..., None] * b, "g": log_decay(B, T, H, K), **state},
        "gla": {**qkv(), "g": log_decay(B, T, H, K), **state},
        "simple_gla": {**qkv(), "g": log_decay(B, T, H), **state},
        "rwkv6": {**qkv(), "g": log_decay(B, T, H, K), "u": normal(H, K), **state},
        # Positive features, since q . z divides; z is [B,1,H,K] here.
        "linear_attention": {
            "q": normal(B, T, H, K).exp(),
            "k": normal(B, T, H, K).exp(),
            "v": normal(B, T, H, V),
            **state,
            "z0": normal(B, 1, H, K).exp(),
        },
        "retention": qkv(),
        "hgrn": {"x": normal(B, T, H * V), "g": log_decay(B, T, H * V), "S0": normal(B, H * V)},
    }


def results(name: str, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The outputs of a function by name."""
    function = FUNCTIONS[name]
    *tensors, state = inputs.values()
    if name == "retention":
        return {"o": heads_first(function)(*inputs.values())}
    if name == "linear_attention":
        o, S, z = linear_attention(*inputs.values())
        return {"o": o, "S": S, "z": z}
    if name == "rwkv6":
        o, S = rwkv6(*inputs.values())
    elif name in ("delta_rule", "dplr"):
        o, S = heads_first(function)(*tensors, initial_state=state, output_final_state=True)
    else:
        o, S = function(*tensors, initial_state=state, output_final_state=True)
    return {"o": o, "S": S}


def record(name: str, inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
    leaves = {key: x.detach().requires_grad_() for key, x in inputs.items()}
    outputs = results(name, leaves)
    cotangents = {
        key: torch.randn(y.shape, generator=generator, dtype=torch.float64) for key, y in outputs.items()
    }
    loss = sum((y * cotangents[key]).sum() for key, y in outputs.items())
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    for y in outputs.values():
        assert y.dtype == torch.float64 and math.isfinite(y.abs().max().item())
    return {
        **inputs,
        **outputs,
        **{f"cotangent.{key}": x for key, x in cotangents.items()},
        **{f"grad.{key}": x for key, x in zip(leaves, gradients)},
    }


def main(folder: Path) -> None:
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    torch.float32 = torch.float = torch.float64
    versions = {f"version.{name}": importlib.metadata.version(name) for name in ("torch", "flash-linear-attention")}
    generator = torch.Generator().manual_seed(20)
    folder.mkdir(parents=True, exist_ok=True)
    for name, inputs in draw(generator).items():
        tensors = record(name, inputs, generator)
        contents = {key: x.detach().contiguous().clone() for key, x in tensors.items()}
        metadata = {**versions, "function": FUNCTIONS[name].__name__}
        save_file(contents, folder / f"{name}.safetensors", metadata=metadata)
        print(name, {key: tuple(x.shape) for key, x in contents.items() if "." not in key})


if __name__ == "__main__":
    main(Path(sys.argv[1]))

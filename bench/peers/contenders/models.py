"""Language models of PyTorch from folders that this project has written: NX-AI's two packages and transformers' Llama."""

import json
import os

import torch
from safetensors.torch import load_file


def open_model(folder, **changes):
    """The model of a folder and the function from tokens [B,T] to logits [B,T,V]. @param changes  fields of xLSTM Large"""
    path = os.path.join(folder, "config.json")
    if not os.path.exists(path):
        return open_paper(folder)
    with open(path) as file:
        fields = json.load(file)
    if fields["model_type"] == "xlstm":
        return open_large(folder, fields, **changes)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    model.train()
    return model, lambda tokens: model(tokens, use_cache=False).logits


def open_paper(folder):
    import yaml
    from dacite import Config, from_dict
    from xlstm import xLSTMLMModel, xLSTMLMModelConfig

    with open(os.path.join(folder, "config.yaml")) as file:
        fields = yaml.safe_load(file)
    # The cells compute in bfloat16 unless they are told otherwise.
    fields["slstm_block"]["slstm"]["dtype"] = "float32"
    fields["slstm_block"]["slstm"]["enable_automatic_mixed_precision"] = False
    model = xLSTMLMModel(from_dict(xLSTMLMModelConfig, fields, Config(strict=True)))
    model.load_state_dict(load_file(os.path.join(folder, "model.safetensors")), strict=False)
    return model, model


def open_large(folder, fields, fused=False, dtype=torch.float32, **changes):
    from dataclasses import fields as fields_of

    from xlstm.xlstm_large.model import xLSTMLarge, xLSTMLargeConfig

    known = {field.name for field in fields_of(xLSTMLargeConfig)}
    fields = {name: value for name, value in fields.items() if name in known}
    config = xLSTMLargeConfig(**{**fields, "weight_mode": "fused" if fused else "single", **changes})
    files = sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))
    weights = {name: value for file in files for name, value in load_file(os.path.join(folder, file)).items()}
    weights["embedding.weight"] = weights.pop("backbone.embeddings.weight")
    if fused:
        fuse(weights, config.num_blocks)
    with torch.device("meta"):
        model = xLSTMLarge(config)
    model.load_state_dict({name: value.to(dtype) for name, value in weights.items()}, assign=True)
    return model, lambda tokens: first(model(tokens))


def fuse(weights, blocks):
    """Joins the matrices of one input, as the package's weight_mode "fused" has them."""
    joined = {
        "mlstm_layer.qkv_opreact.weight": [f"mlstm_layer.{name}.weight" for name in ("q", "k", "v", "ogate_preact")],
        "mlstm_layer.ifgate_preact.weight": [f"mlstm_layer.{name}gate_preact.weight" for name in "if"],
        "mlstm_layer.ifgate_preact.bias": [f"mlstm_layer.{name}gate_preact.bias" for name in "if"],
        "ffn.proj_up_gate_z.weight": ["ffn.proj_up_gate.weight", "ffn.proj_up.weight"],
    }
    for block in range(blocks):
        here = f"backbone.blocks.{block}."
        for name, parts in joined.items():
            weights[here + name] = torch.cat([weights.pop(here + part) for part in parts])


def first(value):
    return value[0] if isinstance(value, tuple) else value

"""Reads a prompt, or continues it greedily token by token, with xLSTM Large in PyTorch and its native kernels."""

import torch
from common import answer, job, timed
from models import open_model
from safetensors.torch import load_file

torch.set_num_threads(job["threads"])
dtype = getattr(torch, job["dtype"])
model, _ = open_model(
    job["folder"],
    fused=job.get("fused", False),
    dtype=dtype,
    mode="inference",
    return_last_states=True,
    autocast_kernel_dtype=job["dtype"],
)
model.eval()
prompt = load_file(job["prompt"])["tokens"].long()[None]


def read(tokens, state):
    """The logits after the last token alone, as this project computes them: the package's own loop makes all."""
    hidden, state = model.backbone(model.embedding(tokens), state)
    logits = model.lm_head(hidden[:, -1])
    cap = model.config.output_logit_soft_cap
    return cap * torch.tanh(logits / cap), state


with torch.inference_mode():
    # The chunkwise kernel does not take bf16 beside a state of float32: there the step kernel reads the prompt.
    logits, state = None, None
    for part in [prompt] if dtype == torch.float32 else prompt.split(1, dim=1):
        logits, state = read(part, state)
    outputs = {"logits": logits[0, :1000].float().tolist()}

    def next_token():
        global logits, state
        logits, state = read(logits.argmax(-1, keepdim=True), state)

    seconds = timed((lambda: read(prompt, None)) if job.get("prefill") else next_token)

answer(seconds, outputs, "torch", "xlstm", "mlstm_kernels")

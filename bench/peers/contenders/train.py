"""Training steps of a language model in PyTorch, on one batch again and again: eager or compiled."""

import torch
from common import answer, job, timed
from models import open_model
from safetensors.torch import load_file

torch.set_num_threads(job["threads"])
torch.manual_seed(0)
# The package's model of xLSTM Large works only where it returns its states.
changes = {"mode": "train", "return_last_states": True} if job.get("large") else {}
model, logits_of = open_model(job["folder"], **changes)
batch = load_file(job["batch"])
tokens, targets = batch["tokens"].long(), batch["targets"].long()
if job.get("padded"):
    # Its chunkwise kernel takes whole chunks alone, and its mode that pads returns no states: pad as a user would.
    rest = -tokens.shape[1] % 64
    tokens = torch.nn.functional.pad(tokens, (0, rest))
    targets = torch.nn.functional.pad(targets, (0, rest), value=-100)
optimizer = torch.optim.AdamW(
    model.parameters(), lr=job["learningRate"], betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True
)


def loss_of(tokens, targets):
    logits = logits_of(tokens)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


if job.get("compile"):
    loss_of = torch.compile(loss_of)


def step():
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(tokens, targets)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item(), norm.item()


steps = [step() for _ in range(3)]
seconds = timed(step)
outputs = {"loss": [loss for loss, _ in steps], "gradientNorm": [norm for _, norm in steps]}
answer(seconds, outputs, "torch", job["package"])

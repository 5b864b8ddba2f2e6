"""Records the greedy continuation of a folder of Hugging Face transformers anew, into a greedy.safetensors beside it.

    pip install torch transformers==5.17.0 safetensors
    python test/golden/record_greedy.py test/fixtures/golden/hf_mamba2

The text is generated with and without the cache, which must agree, and the recorded logits must be those of the model.
"""

import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

folder = sys.argv[1]
file = f"{folder}/expected.safetensors"
with safe_open(file, "pt") as opened:
    metadata = opened.metadata()
    tensors = {name: opened.get_tensor(name) for name in opened.keys()}
model = AutoModelForCausalLM.from_pretrained(folder).eval()

length = tensors["logits"].shape[1]
with torch.no_grad():
    logits = model(tensors["tokens"][:, :length]).logits
gap = ((logits - tensors["logits"]).norm() / logits.norm()).item()
assert gap < 1e-5, f"the logits recorded are not those of the model: relative RMS {gap}"

prompt = tensors["prompt"]
steps = tensors["greedy"].shape[1] - prompt.shape[1]
options = {"max_new_tokens": steps, "do_sample": False, "eos_token_id": None}
texts = [model.generate(prompt, use_cache=cached, **options) for cached in (True, False)]
assert torch.equal(*texts), "with the cache it generates another text than without"
print("recorded:", tensors["greedy"][0].tolist(), "now:", texts[0][0].tolist(), "logits:", gap)
save_file({"greedy": texts[0]}, f"{folder}/greedy.safetensors", metadata)

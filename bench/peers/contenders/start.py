"""Opens a model folder with transformers and makes the first token after a prompt."""

import torch
from common import answer, job
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(job["threads"])
tokenizer = AutoTokenizer.from_pretrained(job["folder"])
model = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32)
inputs = tokenizer(job["prompt"], return_tensors="pt", add_special_tokens=False)["input_ids"]
with torch.inference_mode():
    token = model(inputs).logits[0, -1].argmax().item()
answer([], {"tokens": [token]}, "torch", "transformers")

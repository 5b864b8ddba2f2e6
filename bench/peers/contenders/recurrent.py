"""A recurrent layer over a sequence, forward and backward: NX-AI's plain sLSTM cell, or PyTorch's LSTM."""

import torch
from common import answer, job, timed
from safetensors.torch import load_file

torch.set_num_threads(job["threads"])
tensors = load_file(job["inputs"])
dy = tensors.pop("dy")
B, T, D = dy.shape


def slstm():
    """The cell on gates that are leaves in the layout that it takes."""
    from xlstm.blocks.slstm.src.vanilla import slstm_forward, slstm_pointwise_function_registry

    gates = torch.stack([tensors[f"gate.{gate}"] for gate in "ifzo"], dim=2)  # [B,T,4,D]
    x = gates.transpose(0, 1).reshape(T, B, 4 * D).contiguous().requires_grad_()
    recurrent = tensors["recurrent"].requires_grad_()
    bias = tensors["bias"].requires_grad_()
    dh = dy.transpose(0, 1).contiguous()
    leaves = [x, recurrent, bias]

    def both():
        for leaf in leaves:
            leaf.grad = None
        pointwise = slstm_pointwise_function_registry["slstm"]
        states, _, _ = slstm_forward(x, torch.zeros(4, B, D), recurrent, bias, pointwise)
        h = states[0, 1:]  # [T,B,D]
        h.backward(dh)
        return h.transpose(0, 1)

    def gradients():
        dgates = x.grad.view(T, B, 4, D).transpose(0, 1)  # [B,T,4,D]
        found = {f"dgate.{gate}": dgates[:, :, k] for k, gate in enumerate("ifzo")}
        return {**found, "drecurrent": recurrent.grad, "dbias": bias.grad}

    return both, gradients


def lstm():
    """PyTorch orders the gates i f z o as well, and has two biases of which one is zero here."""
    layer = torch.nn.LSTM(D, D, batch_first=True)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.cat([tensors[f"weight.{gate}"] for gate in "ifzo"]))
        layer.weight_hh_l0.copy_(tensors["recurrent"][0])
        layer.bias_ih_l0.copy_(tensors["bias"])
        layer.bias_hh_l0.zero_()
    x = tensors["x"].requires_grad_()

    def both():
        layer.zero_grad()
        x.grad = None
        h, _ = layer(x)
        h.backward(dy)
        return h

    def gradients():
        found = {f"dweight.{gate}": layer.weight_ih_l0.grad[k * D : (k + 1) * D] for k, gate in enumerate("ifzo")}
        return {"dx": x.grad, **found, "drecurrent": layer.weight_hh_l0.grad, "dbias": layer.bias_ih_l0.grad}

    return both, gradients


both, gradients = {"slstm": slstm, "lstm": lstm}[job["cell"]]()
h = both()
outputs = {"h": h.detach().reshape(-1)[-1000:].tolist()}
outputs.update((name, value.reshape(-1)[:1000].tolist()) for name, value in gradients().items())
answer(timed(both), outputs, "torch", "xlstm")

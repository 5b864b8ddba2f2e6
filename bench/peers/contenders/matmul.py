"""Matrix products of one row's shapes: oneDNN or MKL through PyTorch, OpenBLAS through NumPy."""

from common import answer, job, timed_short
from safetensors.numpy import load_file

tensors = load_file(job["inputs"])
library = job["library"]
if library != "openblas":
    import torch

    torch.set_num_threads(job["threads"])
    torch.set_grad_enabled(False)


def product(a, b):
    """A call without arguments that multiplies two arrays, which may be transposed views."""
    if library == "openblas":
        import numpy

        out = numpy.empty((a.shape[0], b.shape[1]), numpy.float32)
        return lambda: numpy.matmul(a, b, out=out)
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    if library == "onednn":
        right = b.t()  # the operation takes the second operand as [N,K]
        return lambda: torch.ops.mkldnn._linear_pointwise(a, right, None, "none", [], "")
    out = torch.empty(a.shape[0], b.shape[1])
    return lambda: torch.mm(a, b, out=out)


seconds, outputs = {}, {}
job["seconds"] /= len(job["cases"])
for name in job["cases"]:
    shape, transposes = name.split(" ")
    M, N, K = map(int, shape.split("x"))
    a, b = tensors["a"][: M * K], tensors["b"][: K * N]
    a = a.reshape(K, M).T if transposes[0] == "T" else a.reshape(M, K)
    b = b.reshape(N, K).T if transposes[1] == "T" else b.reshape(K, N)
    call = product(a, b)
    outputs[name] = call().reshape(-1)[:1000].tolist()
    seconds[name] = timed_short(call)
answer(seconds, outputs, *(["numpy"] if library == "openblas" else ["torch"]))

"""Calls the CUDA library from Python with PyTorch tensors: prototypes come from the headers, as in the package."""

import ctypes
import re
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
TYPES = {
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64,
    "uintptr_t": ctypes.c_size_t,
}


def prototypes() -> dict[str, list]:
    text = "".join((ROOT / "native/include" / name).read_text() for name in ("xl.h", "xl_cuda.h"))
    text = re.sub(r"^\s*#.*$", " ", re.sub(r"/\*.*?\*/", " ", text, flags=re.S), flags=re.M)
    found = {}
    for result, name, arguments in re.findall(r"XL_API ([^;()]*?)\b(xl_\w+) ?\(([^;]*)\);", text):
        parts = [] if arguments.strip() == "void" else [part.strip() for part in arguments.split(",")]
        kinds = [ctypes.c_void_p if "*" in part else TYPES[part.split()[-2]] for part in parts]
        found[name] = kinds
    return found


class Library:
    def __init__(self, path: str, index: int = 0):
        self.dll = ctypes.CDLL(path)
        self.dll.xl_last_error.restype = ctypes.c_char_p
        self.dll.xl_device_name.restype = ctypes.c_char_p
        self.dll.xl_cublaslt_path.restype = ctypes.c_char_p
        self.prototypes = prototypes()
        self.call("xl_open_device", index)

    def status(self, name: str, *arguments) -> int:
        """The status of a call; a kernel with bfloat16 activations has the arguments of its float32 sister."""
        kinds = self.prototypes.get(name) or self.prototypes[re.sub(r"_bf16(_float)?$", "", name)]
        if len(kinds) != len(arguments):
            raise TypeError(f"{name} takes {len(kinds)} arguments, got {len(arguments)}")
        values = []
        for kind, value in zip(kinds, arguments):
            if isinstance(value, torch.Tensor):
                if not value.is_contiguous():
                    raise ValueError(f"{name}: a tensor is not contiguous")
                value = value.data_ptr()
            values.append(kind(value) if value is not None else kind(None))
        function = getattr(self.dll, name)
        function.restype = ctypes.c_int
        return function(*values)

    def call(self, name: str, *arguments) -> None:
        if self.status(name, *arguments) != 0:
            raise RuntimeError(f"{name}: {self.error()}")

    def run(self, name: str, *arguments) -> None:
        """A kernel after PyTorch's work and before what follows."""
        torch.cuda.synchronize()
        self.call(name, *arguments)
        self.call("xl_synchronize")

    def error(self) -> str:
        return self.dll.xl_last_error().decode()

    def handle(self, name: str, *arguments) -> int:
        """What a call writes to its first argument: a handle or an address."""
        value = ctypes.c_double()
        self.call(name, ctypes.addressof(value), *arguments)
        return int(value.value)

    def milliseconds(self, run, repeats: int = 15, warm: int = 2, inner: int = 5) -> float:
        """The median over `repeats` of the mean time of `inner` runs one after another on the library's stream."""
        start, end = self.handle("xl_event_create"), self.handle("xl_event_create")
        times = []
        torch.cuda.synchronize()
        for repeat in range(warm + repeats):
            value = ctypes.c_double()
            self.call("xl_event_record", start)
            for _ in range(inner):
                run()
            self.call("xl_event_record", end)
            self.call("xl_event_elapsed", ctypes.addressof(value), start, end)
            if repeat >= warm:
                times.append(value.value / inner)
        self.call("xl_event_destroy", start)
        self.call("xl_event_destroy", end)
        return sorted(times)[len(times) // 2]

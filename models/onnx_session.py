"""How a network is opened in ONNX Runtime: the one door to it.

One thread and no spinning: a replica holds a share of one engine, and an idle one must not burn a core.
The memory arena stays on, although it keeps what the largest batch took: without it MiniLM's batches of 32 x 256 tokens
took 5.7 s instead of 3.6 s, a third of it spent on fresh pages. A GPU is used only where the runtime installed has CUDA
and the model asks for it; the built-in models stay on the CPU, where their costs were measured.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

Weights = Mapping[str, NDArray[np.float32]]
NO_WEIGHTS: Weights = MappingProxyType({})


# What the runtime raises about a file or a run; its classes share no parent of their own.
ERRORS = (
    runtime.EPFail, runtime.Fail, runtime.InvalidArgument, runtime.InvalidGraph, runtime.InvalidProtobuf,
    runtime.NoModel, runtime.NoSuchFile, runtime.NotImplemented, runtime.RuntimeException,
)  # fmt: skip
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def is_shortage(error: BaseException) -> bool:
    """Whether the runtime found no memory for a run; it says so in words only."""
    return "alloc" in str(error).lower()


def open_session(
    network: Path | bytes, weights: Weights = NO_WEIGHTS, *, may_use_gpu: bool = False
) -> onnxruntime.InferenceSession:
    """Open a network from a file, or from bytes whose external initializers are `weights` by name.

    With `may_use_gpu` it runs by CUDA where the runtime has that, and by the CPU what CUDA cannot run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(weight) for weight in weights.values()]
    options.add_external_initializers(list(weights), values)
    has_gpu = may_use_gpu and CUDA in onnxruntime.get_available_providers()
    return onnxruntime.InferenceSession(network, options, providers=[CUDA, CPU] if has_gpu else [CPU])

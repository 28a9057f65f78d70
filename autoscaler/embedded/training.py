"""`python -m autoscaler.embedded.training OPTIONS`: `models.training` on an emulated slot.

The training computes as it does anywhere; each of its steps then waits until the slot's emulated engine has given what
the step costs.
"""

import os
import sys
from collections.abc import Callable, Sequence

from models import training
from vgpu.core import names
from vgpu.emulator.client import DeviceLost, EngineClient, EngineRefused, EngineUnavailable

UNAVAILABLE = 1


def main(arguments: Sequence[str]) -> int:
    """The training's own exit status; 1 where the emulated card is gone, for the kubelet to start it again."""
    socket, ratio = os.environ[names.ENV_EMULATOR_SOCKET], float(os.environ[names.ENV_EMULATED_COST_RATIO])
    slot = os.environ.get(names.ENV_EMULATOR_SLOT) or os.environ[names.ENV_SLOT_ID]
    try:
        with EngineClient(socket, slot) as engine:
            engine.allocate(training.FRAMEBUFFER_MIB)
            return training.main(arguments, spend=_spend(engine, ratio))
    except (EngineUnavailable, EngineRefused, DeviceLost, MemoryError) as problem:
        sys.stderr.write(f"{slot}: {problem}\n")
        return UNAVAILABLE


def _spend(engine: EngineClient, cost_ratio: float) -> Callable[[int], None]:
    def spend(demand_ns: int) -> None:
        engine.run_blocking(round(demand_ns * cost_ratio))

    return spend


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

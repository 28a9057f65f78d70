"""Configs of an emulated V100 for the tests of this folder."""

import json
from pathlib import Path
from typing import Any


def config_document(folder: Path, **changes: Any) -> dict[str, Any]:
    """A card cut into two halves, a and b, under equal share; `changes` replace top-level keys."""
    document = {
        "gpu_uuid": "GPU-card",
        "board": "V100",
        "gpu_name": "Tesla V100-PCIE-16GB",
        "framebuffer_mib": 16384,
        "policy": "equal-share",
        "most_per_gpu": 2,
        "socket": str(folder / "gpu.sock"),
        "slots": [slot_document(folder, "a"), slot_document(folder, "b")],
        "host_nvml_state": str(folder / "host.nvml"),
    }
    return document | changes


def slot_document(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    """Half a V100."""
    slot = {
        "slot_id": name,
        "profile_name": "GRID V100-8Q",
        "framebuffer_mib": 8192,
        "device_uuid": f"GPU-{name}",
        "nvml_state": str(folder / f"{name}.nvml"),
    }
    return slot | changes


def config_text(folder: Path, **changes: Any) -> str:
    """`config_document` as JSON."""
    return json.dumps(config_document(folder, **changes))

"""A small cluster and a small pod list, generated: three kinds of nodes, and pods of every kind."""

import csv
import gzip
from pathlib import Path
from random import Random

NODE_KINDS = (("V100", 4, 48_000, 262_144), ("T4", 2, 32_000, 131_072), ("P100", 2, 12_000, 65_536))
POD_KINDS = (  # CPU, memory, GPUs, units of each, how many in twenty
    (4000, 8192, 1, 470, 4),
    (3000, 8192, 1, 810, 4),
    (8000, 16_384, 1, 1000, 7),
    (16_000, 65_536, 2, 1000, 1),
    (12_000, 32_768, 0, 0, 4),
)


def write_nodes(path: Path, *, nodes: int = 24) -> Path:
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("sn", "cpu_milli", "memory_mib", "gpu", "model"))
        for index in range(nodes):
            model, gpus, cpu_milli, memory_mib = NODE_KINDS[index % len(NODE_KINDS)]
            lines.writerow((f"node-{index:03d}", cpu_milli, memory_mib, gpus, model))
    return path


def write_pods(path: Path, *, pods: int = 120, with_models: bool = True, seed: int = 1) -> Path:
    """Gzipped when the name says so; without models the list has the first five columns only."""
    draws = Random(seed)
    rows = [["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", *(["gpu_spec"] if with_models else [])]]
    weights = [kind[4] for kind in POD_KINDS]
    for index in range(pods):
        cpu_milli, memory_mib, gpus, units, _ = draws.choices(POD_KINDS, weights)[0]
        models = draws.choice(("", "", "", "V100|T4")) if gpus else ""
        rows.append([f"pod-{index:04d}", cpu_milli, memory_mib, gpus, units, *([models] if with_models else [])])
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path

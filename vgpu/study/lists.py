"""Node and pod lists as CSV, in the columns of Alibaba's cluster-trace-gpu-v2023; a file may be gzipped.

Nodes: sn, cpu_milli, memory_mib, gpu, model. Pods: name, cpu_milli, memory_mib, num_gpu, gpu_milli and, where there is
one, gpu_spec (allowed models, A|B). Other columns are not looked at. Every problem names file and line.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vgpu.core.fractions.host import MOST_GPUS, Host
from vgpu.core.fractions.shape import WHOLE_UNITS, Shape

NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
GZIP_MAGIC = b"\x1f\x8b"


class ListRefused(ValueError):
    """A list that cannot be used: file, line and remedy."""


def read_nodes(path: Path) -> tuple[Host, ...]:
    """All nodes, idle.

    Raises:
        ListRefused: for a file that cannot be read, a missing column, a bad number, a name twice, or no GPU at all.
    """
    hosts: dict[str, Host] = {}
    for where, line in _lines(path, NODE_COLUMNS):
        name = line["sn"]
        if not name or name in hosts:
            raise ListRefused(f"{where}: node name {name!r} is {'given twice' if name else 'empty'}; name each once")
        gpus = _count(where, line, "gpu")
        if gpus > MOST_GPUS:
            raise ListRefused(f"{where}: node {name} has {gpus} GPUs; a node has at most {MOST_GPUS}")
        if gpus and not line["model"]:
            raise ListRefused(f"{where}: node {name} has {gpus} GPUs and no model; name the model")
        try:
            hosts[name] = Host(
                name=name,
                cpu_milli=_count(where, line, "cpu_milli"),
                memory_mib=_count(where, line, "memory_mib"),
                free_units=(WHOLE_UNITS,) * gpus,
                model=line["model"],
            )
        except ListRefused:
            raise
        except ValueError as error:
            raise ListRefused(f"{where}: {error}") from error
    if not any(host.free_units for host in hosts.values()):
        raise ListRefused(f"{path}: {len(hosts)} nodes and no GPU among them; give nodes with GPUs")
    return tuple(hosts.values())


def read_pods(path: Path) -> tuple[Shape, ...]:
    """What each pod asks for, in the order of the pods' names.

    Raises:
        ListRefused: for a file that cannot be read, a missing column, a bad number, units that cannot be, or no pod
            that asks for GPU.
    """
    shapes = [(line["name"], _shape(where, line)) for where, line in _lines(path, POD_COLUMNS)]
    if not any(shape.gpus for _, shape in shapes):
        raise ListRefused(f"{path}: {len(shapes)} pods and none asks for GPU; give pods with num_gpu above 0")
    shapes.sort(key=lambda named: named[0])
    # Equal shapes as one object: a run looks each of them up thousands of times.
    same = {shape: shape for _, shape in shapes}
    return tuple(same[shape] for _, shape in shapes)


def _shape(where: str, line: Mapping[str, str]) -> Shape:
    cpu_milli, memory_mib = _count(where, line, "cpu_milli"), _count(where, line, "memory_mib")
    gpus, units = _count(where, line, "num_gpu"), _count(where, line, "gpu_milli")
    name = line["name"]
    if not gpus:
        return Shape(cpu_milli=cpu_milli, memory_mib=memory_mib, gpus=0, units=0)
    if units > WHOLE_UNITS:
        if units % WHOLE_UNITS or gpus != 1:
            raise ListRefused(
                f"{where}: pod {name}: gpu_milli is {units} on {gpus} GPU; above {WHOLE_UNITS} it must be a multiple "
                f"of {WHOLE_UNITS} with num_gpu 1"
            )
        gpus, units = units // WHOLE_UNITS, WHOLE_UNITS
    models = frozenset(model.strip() for model in (line.get("gpu_spec") or "").split("|")) - {""}
    try:
        return Shape(cpu_milli=cpu_milli, memory_mib=memory_mib, gpus=gpus, units=units, models=models)
    except ValueError as error:
        raise ListRefused(f"{where}: pod {name}: {error}") from error


def _count(where: str, line: Mapping[str, str], column: str) -> int:
    """A whole number, 0 or more; an empty gpu_milli of a pod without GPU is 0."""
    text = line[column] or ("0" if column == "gpu_milli" else "")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ListRefused(f"{where}: {column} is {text!r}; give a whole number, 0 or more")
    return int(text)


def _lines(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each line with where it stands; columns that are missing from the heading or the line are refused."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ListRefused(f"{path}: cannot be read: {error}; give a CSV file, gzipped or not") from error
    reader = csv.DictReader(text.splitlines(), restkey="surplus", restval="")
    try:
        named = list(reader.fieldnames or ())
    except csv.Error as error:
        raise ListRefused(f"{path}:1: {error}") from error
    missing = [column for column in columns if column not in named]
    if twice := sorted({column for column in named if named.count(column) > 1}):
        raise ListRefused(f"{path}:1: column {', '.join(twice)} is named twice; which one counts?")
    if missing:
        raise ListRefused(
            f"{path}:1: no column {', '.join(missing)}; the first line names the columns: {','.join(columns)}"
        )
    is_empty = True
    try:
        for line in reader:
            is_empty = False
            where = f"{path}:{reader.line_num}"
            if "surplus" in line:
                raise ListRefused(f"{where}: more fields than the {len(reader.fieldnames or ())} columns")
            yield where, {column: value.strip() for column, value in line.items()}
    except csv.Error as error:
        raise ListRefused(f"{path}:{reader.line_num}: {error}") from error
    if is_empty:
        raise ListRefused(f"{path}: no line below the heading; give at least one")

"""Any ONNX file as a model: inputs, outputs, types and shapes are the file's own.

A request's rows may be of any length where the file leaves a length open; rows of several requests go through the
network together as far as their lengths agree. A row that the network itself refuses fails alone.
"""

import math
import os
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from models import download, numeric
from models.cost import Cost
from models.model import (
    Datatype,
    InputTensor,
    InvalidInput,
    ModelFileDamaged,
    ModelFileMissing,
    ModelMetadata,
    OutputTensor,
)
from models.onnx_network import Network, Row, first_line, open_network, row_bytes, stacked
from models.onnx_session import ERRORS, is_shortage
from models.source import is_url

PLATFORM = "onnx_onnxv1"
MIB = 1024 * 1024
LARGEST_BATCH = 32
NO_LENGTHS: Mapping[str, int] = MappingProxyType({})
# A batch of this many rows is timed beside a lone one, so often, but no longer than this once each has been.
TIMED_ROWS, TIMED_ROUNDS, TIMED_S = 8, 3, 2.0


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """In the place of a result: why the network does not take this row."""

    reason: str


class OnnxModel:
    """A `Model` whose item is one row: an array for each input."""

    def __init__(
        self,
        location: str,
        *,
        sha256: str | None = None,
        lengths: Mapping[str, int] = NO_LENGTHS,
        framebuffer_mib: int | None = None,
        base_us: float | None = None,
        per_item_us: float | None = None,
    ) -> None:
        """Take the file behind a path or URL; nothing is read before `load`.

        `lengths` are those of the example where the file leaves lengths open. `base_us` and `per_item_us` are the
        cost on the reference engine, `framebuffer_mib` what the model takes of a slot; left out, they are measured and
        estimated at load. Raises `ValueError`.
        """
        self._location = location
        self._sha256 = _checked_digest(sha256, location)
        self._lengths = _checked_lengths(lengths)
        self._declared_mib = _checked_mib(framebuffer_mib)
        if (base_us is None) != (per_item_us is None):
            raise ValueError("base_us and per_item_us belong together; give both, or none to have them measured")
        self._declared_cost = None if base_us is None or per_item_us is None else _cost(base_us, per_item_us)
        self._network: Network
        self._cost: Cost

    @property
    def metadata(self) -> ModelMetadata:
        """Known once loaded."""
        network = self._network
        return ModelMetadata(
            name="onnx", version="1", platform=PLATFORM, inputs=network.inputs, outputs=network.outputs
        )

    @property
    def framebuffer_mib(self) -> int:
        """As declared; else the file, and inputs and outputs of the largest batch: what lies between is unknown."""
        estimate_mib = self._cost.framebuffer_mib(items=LARGEST_BATCH)
        return estimate_mib if self._declared_mib is None else self._declared_mib

    def example(self) -> Mapping[str, InputTensor]:
        return {
            spec.name: InputTensor(datatype=spec.datatype, shape=(1, *zeros.shape), data=zeros.reshape(-1))
            for spec, zeros in zip(self._network.inputs, self._network.example, strict=True)
        }

    def load(self) -> None:
        path = self._file()
        self._network = open_network(path, self._lengths)
        weights_mib = math.ceil(path.stat().st_size / MIB)
        row_mib = max(1, math.ceil(row_bytes(self._network) / MIB))
        base_us, per_item_us = self._declared_cost or measured_us(self._network)
        self._cost = Cost(
            base_us=base_us, per_item_us=per_item_us, weights_mib=weights_mib, activation_mib_per_item=row_mib
        )

    def warm_up(self) -> None:
        """The network has answered its example when it was opened."""

    def items_from_tensors(self, tensors: Mapping[str, InputTensor]) -> list[Row]:
        known = [spec.name for spec in self._network.inputs]
        for name in tensors:
            if name not in known:
                raise InvalidInput(name, f"is not an input of this model; it takes {', '.join(known)}")
        columns = []
        for spec in self._network.inputs:
            if spec.name not in tensors:
                raise InvalidInput(spec.name, "is missing")
            columns.append(numeric.rows(tensors[spec.name], spec))
            if len(columns[-1]) != len(columns[0]):
                raise InvalidInput(spec.name, f"has {len(columns[-1])} rows, {known[0]} has {len(columns[0])}")
        return list(zip(*columns, strict=True))

    def predict(self, batch: Sequence[Row]) -> list[Row | RefusedRow]:
        """One row of outputs per item, or why it has none."""
        results: dict[int, Row | RefusedRow] = {}
        for places in _alike(batch):
            found = self._answers([batch[place] for place in places])
            results.update(zip(places, found, strict=True))
        return [results[place] for place in range(len(batch))]

    def tensors_from_results(self, results: Sequence[Row | RefusedRow]) -> list[OutputTensor]:
        """The outputs. Raises `InvalidInput` for a row that the network did not take."""
        rows: list[Row] = []
        for index, result in enumerate(results):
            if isinstance(result, RefusedRow):
                raise InvalidInput("inputs", f"row {index} is not what the network takes: {result.reason}")
            rows.append(result)
        tensors = []
        for spec, column in zip(self._network.outputs, zip(*rows, strict=True), strict=True):
            if len({np.shape(each) for each in column}) > 1:
                raise InvalidInput(
                    "inputs", f"rows have outputs {spec.name} of different shapes; send one row a request"
                )
            data = stacked(column, spec)
            if spec.datatype is Datatype.BYTES:
                data = np.frompyfunc(str.encode, 1, 1)(data)
            tensors.append(OutputTensor(name=spec.name, datatype=spec.datatype, data=data))
        return tensors

    def engine_cost_ns(self, batch: Sequence[Row]) -> int:
        """Each run's base, and each row in proportion to its elements, where lengths are open."""
        network = self._network
        example_elements = _elements(network.example)
        rows = sum(_elements(row) for row in batch) / example_elements
        runs = len(_alike(batch)) if network.is_batched else len(batch)
        return round(1000 * (runs * self._cost.base_us + rows * self._cost.per_item_us))

    def _file(self) -> Path:
        if is_url(self._location):
            if self._sha256 is None:  # refused before: see _checked_digest
                raise ValueError("a URL needs sha256")
            return download.fetch(self._location, sha256=self._sha256, folder=download.cache_folder(os.environ))
        path = Path(self._location)
        if not path.is_file():
            remedy = "mount it where the model is served, or correct the source"
            raise ModelFileMissing(f"{path} is no file here", remedy=remedy)
        if self._sha256 is not None and (found := download.digest(path)) != self._sha256:
            remedy = "correct parameters.sha256, or find out who changed the file"
            raise ModelFileDamaged(f"{path} has the SHA-256 {found}, expected {self._sha256}", remedy=remedy)
        return path

    def _answers(self, rows: Sequence[Row]) -> Sequence[Row | RefusedRow]:
        try:
            return self._network.run(rows)
        except ERRORS as error:
            if is_shortage(error):
                raise MemoryError(first_line(error)) from error
            if len(rows) == 1:
                return [RefusedRow(first_line(error))]
        # One of them is at fault, and the others' answers must not depend on it.
        return [answer for row in rows for answer in self._answers([row])]


def measured_us(network: Network) -> tuple[float, float]:
    """Base and cost per row on one core of this machine, from CPU times of a lone example and of several."""
    many = TIMED_ROWS if network.is_batched else 1
    seen: dict[int, list[float]] = {1: [], many: []}
    began_s = time.monotonic()
    while len(seen[1]) < TIMED_ROUNDS and (not seen[1] or time.monotonic() - began_s < TIMED_S):
        for rows, times_us in seen.items():
            start_s = time.thread_time()
            network.run([network.example] * rows)
            times_us.append(1e6 * (time.thread_time() - start_s))
    alone_us, together_us = statistics.median(seen[1]), statistics.median(seen[many])
    if many == 1:
        return 0.0, alone_us
    per_item_us = max(0.0, (together_us - alone_us) / (many - 1))
    return max(0.0, alone_us - per_item_us), per_item_us


def _alike(batch: Sequence[Row]) -> list[list[int]]:
    """Places of rows that may run together: those whose lengths agree."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for place, row in enumerate(batch):
        groups.setdefault(tuple(np.shape(each) for each in row), []).append(place)
    return list(groups.values())


def _elements(row: Row) -> int:
    return sum(np.size(each) for each in row)


def _checked_digest(given: object, location: str) -> str | None:
    if given is None:
        if is_url(location):
            raise ValueError("parameters.sha256 is missing; a file behind a URL needs it (sha256sum says it)")
        return None
    if not isinstance(given, str) or re.fullmatch(r"[0-9a-fA-F]{64}", given) is None:
        raise ValueError(f"sha256 is {given!r}; write 64 hexadecimal digits, as sha256sum says them")
    return given.lower()


def _checked_lengths(given: object) -> Mapping[str, int]:
    if not isinstance(given, Mapping) or any(
        isinstance(length, bool) or not isinstance(length, int) or length < 1 for length in given.values()
    ):
        raise ValueError(f"lengths is {given!r}; write a mapping of names to lengths of 1 or more")
    return dict(given)


def _checked_mib(given: object) -> int | None:
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 0):
        raise ValueError(f"framebuffer_mib is {given!r}; write a whole number of MiB, 0 or more")
    return given


def _cost(base_us: float, per_item_us: float) -> tuple[float, float]:
    """Check a declared cost as every other cost is."""
    cost = Cost(base_us=base_us, per_item_us=per_item_us, weights_mib=0, activation_mib_per_item=0)
    return cost.base_us, cost.per_item_us

"""Hosts and the scores of shapes on them, kept while they change: one host's change costs the rescoring of one host.

A shape's scores are brought up to date when it is asked for: the hosts that changed since then are judged together.
The answer depends on the hosts, the demand and the policy, never on the order in which they were told.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vgpu.core.fractions.demand import Demand
from vgpu.core.fractions.host import Host
from vgpu.core.fractions.policies import Policy
from vgpu.core.fractions.rows import FREE, NOWHERE, Floats, Ints, Rows, as_row, fitting
from vgpu.core.fractions.shape import WHOLE_UNITS, Shape
from vgpu.core.fractions.tables import Tables

Draw = Callable[[int], int]
"""A number from 0 to n - 1 at random."""

MOST_SHEETS = 1024
"""Shapes whose scores are kept; with 5,000 hosts they take 70 MB. Lists whose pods name GPU models have some 500."""
WIDTH = 8
"""GPUs of the widest host at first; the matrix grows with the hosts."""
NEVER_FITS = -np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A host for a pod, and the indices of its GPUs there."""

    host: str
    gpus: tuple[int, ...]
    score: float
    """Higher is better."""
    terms: tuple[tuple[str, float], ...]
    """Named parts of the score, as the policy names them."""


@dataclass(slots=True)
class _Sheet:
    """One shape's scores on all rows, as of a place in the board's log of changes."""

    score: Floats
    gpu: npt.NDArray[np.int8]
    terms: npt.NDArray[np.float32]
    seen: int
    """Changes that are in it."""


class Board:
    """What a scheduler keeps between two pods. `choose` reserves nothing: the caller puts the changed host.

    Without `draw`, hosts of one score are taken in the policy's fixed order, by name for most. With it they are drawn,
    as the stock scheduler of Kubernetes does, but for a policy whose own order leaves no ties.
    """

    def __init__(self, policy: Policy, *, demand: Demand | None = None, draw: Draw | None = None) -> None:
        """Start without hosts; demand is learned from `arrived` unless given.

        Raises:
            ValueError: for a policy that draws, without `draw`.
        """
        if policy.draws and draw is None:
            raise ValueError(f"policy {policy.name} draws hosts at random: give draw")
        self._policy = policy
        self._draw = None if policy.orders_itself else draw
        self._demand = demand or Demand()
        self._rows: dict[str, int] = {}
        self._names: list[str] = []
        self._unused: list[int] = []
        self._models: dict[str, int] = {}
        self._matrix: Ints = np.full((0, FREE + WIDTH), NOWHERE, dtype=np.int64)
        self._rank: Ints = np.zeros(0, dtype=np.int64)
        self._is_ranked = True
        self._changes: list[int] = []
        self._forgotten = 0
        self._sheets: dict[Shape, _Sheet] = {}
        self._tables: Tables | None = None

    @property
    def rows(self) -> Rows:
        """All hosts as they are now, in no particular order."""
        return Rows(self._matrix[np.fromiter(self._rows.values(), dtype=np.int64, count=len(self._rows))])

    @property
    def models(self) -> Mapping[str, int]:
        """The code of each GPU model in `rows`."""
        return self._models

    def put(self, host: Host) -> None:
        """Add a host, or replace what was known of it."""
        if host.model not in self._models:
            self._models[host.model] = len(self._models)
            self._tables = None
        width = self._matrix.shape[1] - FREE
        if len(host.free_units) > width:
            self._widen(len(host.free_units))
            width = len(host.free_units)
        row = self._rows.get(host.name)
        if row is None:
            row = self._enter(host.name)
        self._matrix[row] = as_row(host, self._models, width)
        self._changed(row)

    def drop(self, name: str) -> None:
        """Forget a host; one that is not there is no error."""
        row = self._rows.pop(name, None)
        if row is not None:
            self._matrix[row] = NOWHERE
            self._unused.append(row)
            self._changed(row)

    def arrived(self, shape: Shape) -> None:
        """Count a pod once, whether it found room or not: it is the demand that an online scheduler has seen."""
        if self._demand.arrived(shape) and self._policy.looks_at_demand:
            self._tables = None

    def choose(self, shape: Shape, among: Collection[str] | None = None) -> Choice | None:
        """The best host and its GPUs, or None where the shape fits nowhere; `among` names the hosts to look at."""
        if not self._rows:
            return None
        sheet = self._sheet(shape)
        if among is None:
            score = sheet.score
            best = score.max()
            if best == NEVER_FITS:
                return None
            return self._choice(self._first((score == best).nonzero()[0]), shape, sheet)
        rows = self._among(among)
        if not len(rows):
            return None
        score = sheet.score[rows]
        best = score.max()
        return None if best == NEVER_FITS else self._choice(self._first(rows[score == best]), shape, sheet)

    def score(self, shape: Shape, among: Collection[str] | None = None) -> Mapping[str, Choice]:
        """What each host that fits would give, by name, best first."""
        sheet = self._sheet(shape)
        rows = self._among(self._rows.keys() if among is None else among)
        rows = rows[sheet.score[rows] > NEVER_FITS]
        self._rerank()
        rows = rows[np.lexsort((self._rank[rows], -sheet.score[rows]))]
        return {self._names[row]: self._choice(row, shape, sheet) for row in rows.tolist()}

    def _enter(self, name: str) -> int:
        """A row for a new host: that of a dropped one, or a new one."""
        if self._unused:
            row = self._unused.pop()
            self._names[row] = name
        else:
            row = len(self._names)
            self._names.append(name)
            if row >= len(self._matrix):
                self._lengthen(max(64, 2 * len(self._matrix)))
        self._rows[name] = row
        self._is_ranked = False
        return row

    def _lengthen(self, count: int) -> None:
        grown = np.full((count, self._matrix.shape[1]), NOWHERE, dtype=np.int64)
        grown[: len(self._matrix)] = self._matrix
        self._matrix = grown
        self._sheets.clear()

    def _widen(self, gpus: int) -> None:
        more = np.zeros((len(self._matrix), gpus - (self._matrix.shape[1] - FREE)), dtype=np.int64)
        self._matrix = np.ascontiguousarray(np.hstack((self._matrix, more)))
        self._tables = None

    def _changed(self, row: int) -> None:
        self._changes.append(row)
        most = 4 * len(self._matrix)
        if len(self._changes) > 2 * most:
            self._forgotten += len(self._changes) - most
            del self._changes[:-most]

    def _rerank(self) -> None:
        """Where each row stands in the policy's order; asked for only when hosts came, for that is rare."""
        if self._is_ranked:
            return
        self._rank = np.full(len(self._matrix), len(self._matrix), dtype=np.int64)
        for rank, name in enumerate(sorted(self._rows, key=self._policy.order)):
            self._rank[self._rows[name]] = rank
        self._is_ranked = True

    def _first(self, equals: Ints) -> int:
        """One of the rows that are equally good."""
        if len(equals) == 1:
            return int(equals[0])
        self._rerank()
        rank = self._rank[equals]
        if self._draw is None:
            return int(equals[rank.argmin()])
        return int(equals[rank.argsort()[self._draw(len(equals))]])

    def _among(self, names: Collection[str]) -> Ints:
        rows = [self._rows[name] for name in names if name in self._rows]
        return np.array(rows, dtype=np.int64)

    def _sheet(self, shape: Shape) -> _Sheet:
        """The shape's scores as of now."""
        if self._tables is None:
            self._sheets.clear()
            classes = self._demand.classes() if self._policy.looks_at_demand else ()
            self._tables = Tables(classes, self._models, self._matrix.shape[1] - FREE)
        sheet = self._sheets.get(shape)
        now = self._forgotten + len(self._changes)
        if sheet is None:
            sheet = self._new_sheet(shape)
        elif sheet.seen == now:
            return sheet
        elif sheet.seen < self._forgotten:
            self._judge(sheet, shape, None)
        else:
            changed = set(self._changes[sheet.seen - self._forgotten :])
            self._judge(sheet, shape, np.fromiter(changed, dtype=np.int64, count=len(changed)))
        sheet.seen = now
        return sheet

    def _new_sheet(self, shape: Shape) -> _Sheet:
        if len(self._sheets) >= MOST_SHEETS:
            del self._sheets[next(iter(self._sheets))]
        count = len(self._matrix)
        sheet = self._sheets[shape] = _Sheet(
            score=np.full(count, NEVER_FITS),
            gpu=np.zeros(count, dtype=np.int8),
            terms=np.zeros((len(self._policy.terms), count), dtype=np.float32),
            seen=0,
        )
        self._judge(sheet, shape, None)
        return sheet

    def _judge(self, sheet: _Sheet, shape: Shape, rows: Ints | None) -> None:
        """Score the shape anew on these rows, or on all of them."""
        hosts = Rows(self._matrix if rows is None else self._matrix[rows])
        fits = fitting(hosts, shape, self._models).nonzero()[0]
        if rows is None:
            sheet.score.fill(NEVER_FITS)
        elif len(fits) < len(rows):
            sheet.score[rows] = NEVER_FITS
        if not len(fits):
            return
        if len(fits) < len(hosts.matrix):
            hosts = Rows(hosts.matrix[fits])
        rows = fits if rows is None else rows[fits]
        assert self._tables is not None
        scored = self._policy.score(hosts, shape, self._tables)
        sheet.score[rows] = scored.score
        if scored.gpu is not None:
            sheet.gpu[rows] = scored.gpu
        for kept, term in zip(sheet.terms, scored.terms, strict=True):
            kept[rows] = term

    def _choice(self, row: int, shape: Shape, sheet: _Sheet) -> Choice:
        return Choice(
            host=self._names[row],
            gpus=self._gpus(row, shape, sheet),
            score=float(sheet.score[row]),
            terms=tuple(zip(self._policy.terms, sheet.terms[:, row].tolist(), strict=True)),
        )

    def _gpus(self, row: int, shape: Shape, sheet: _Sheet) -> tuple[int, ...]:
        """The GPUs on the row's host: as scored for a fraction, idle ones in index order for whole ones."""
        if not shape.gpus:
            return ()
        free = self._matrix[row, FREE:]
        if not shape.is_fraction:
            return tuple((free == WHOLE_UNITS).nonzero()[0][: shape.gpus].tolist())
        if self._policy.draws and self._draw is not None:
            room = (free >= shape.units).nonzero()[0]
            return (int(room[self._draw(len(room))]),)
        return (int(sheet.gpu[row]),)

"""What an experiment showed: a table for people, figures for machines, and pass marks that were set beforehand."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Cell = str | float | int | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One pass mark: what was demanded, what was found, and whether that is enough."""

    demanded: str
    found: str
    passed: bool

    def line(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}: {self.demanded}: {self.found}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under headings."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.headings) for row in self.rows):
            raise ValueError(f"table {self.title!r}: every row has a cell for each of {', '.join(self.headings)}")

    def markdown(self) -> str:
        lines = [f"**{self.title}**", ""] if self.title else []
        lines.append("| " + " | ".join(self.headings) + " |")
        lines.append("|" + "|".join("---" if at == 0 else "---:" for at in range(len(self.headings))) + "|")
        lines += ["| " + " | ".join(said(cell) for cell in row) + " |" for row in self.rows]
        return "\n".join(lines)

    def text(self) -> str:
        lines = [self.headings, *(tuple(said(cell) for cell in row) for row in self.rows)]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.headings))]
        laid = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([*([self.title] if self.title else []), *laid])


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One experiment."""

    name: str
    title: str
    """The claim, in a few words."""
    setup: str
    """What was simulated, in a sentence or two."""
    tables: tuple[Table, ...]
    marks: tuple[Mark, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[str, ...] = ()
    """Files beside the README."""

    @property
    def passed(self) -> bool:
        return all(mark.passed for mark in self.marks)

    def markdown(self) -> str:
        parts = [f"### {self.name}: {self.title}", self.setup, *(table.markdown() for table in self.tables)]
        parts += [f"![{self.name}]({picture})" for picture in self.pictures]
        parts.append("\n".join(f"- {mark.line()}" for mark in self.marks))
        return "\n\n".join(part for part in parts if part)

    def document(self) -> dict[str, Any]:
        """As JSON can hold it; numbers that are not finite are None."""
        written: dict[str, Any] = finite(
            {
                "experiment": self.name,
                "title": self.title,
                "setup": self.setup,
                "passed": self.passed,
                "marks": [asdict(mark) for mark in self.marks],
                "tables": [asdict(table) for table in self.tables],
                "figures": self.figures,
            }
        )
        return written

    def tell(self) -> int:
        """JSON to standard output, the table to standard error; 1 where a mark was missed."""
        print(f"{self.name}: {self.title}\n{self.setup}", file=sys.stderr)
        for table in self.tables:
            print(f"\n{table.text()}", file=sys.stderr)
        print("\n" + "\n".join(mark.line() for mark in self.marks), file=sys.stderr)
        sys.stdout.write(json.dumps(self.document(), indent=2, allow_nan=False) + "\n")
        return 0 if self.passed else 1


def said(cell: Cell) -> str:
    """A cell for people: three figures behind the point at most."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 100 or cell == math.inf else f"{cell:.3g}" if cell else "0"
    return str(cell)


def percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2%}"


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(value) for value in values) / len(values)) if values else math.nan


def finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value

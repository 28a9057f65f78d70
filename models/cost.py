"""What a batch costs on the reference engine and in framebuffer, read from measured/<kind>.yaml.

    engine time = base + items * (per_item + tokens * per_token + tokens^2 * per_token_pair)

where `tokens` is the length of the longest item, since a batch is padded to it. The squared term is attention.
The file comes from `python -m models.measure`; the same batch shape always costs the same, on every machine.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import yaml

from models.model import ModelFileDamaged, ModelFileMissing

MEASURED = Path(__file__).parent / "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Coefficients of the engine's time, and the framebuffer of weights and of one item of the largest size."""

    base_us: float
    per_item_us: float
    per_token_us: float = 0.0
    per_token_pair_us: float = 0.0
    weights_mib: int
    activation_mib_per_item: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise ValueError(f"{field.name} is {value!r}; a cost is a number, 0 or more")

    def engine_ns(self, *, items: int, tokens: int = 0) -> int:
        """Engine time of a batch of `items`, the longest of which has `tokens` tokens."""
        per_item_us = self.per_item_us + tokens * self.per_token_us + tokens * tokens * self.per_token_pair_us
        return round(1000 * (self.base_us + items * per_item_us))

    def framebuffer_mib(self, *, items: int) -> int:
        """Framebuffer for the weights and for a batch of `items` of the largest size."""
        return self.weights_mib + items * self.activation_mib_per_item


def cost_file(kind: str) -> Path:
    return MEASURED / f"{kind}.yaml"


def read_cost(path: Path) -> Cost:
    """Read the `cost` section of a measured file. Raises `ModelFileMissing` or `ModelFileDamaged`."""
    remedy = f"measure it with: python -m models.measure {path.stem}"
    if not path.is_file():
        raise ModelFileMissing(f"cost file {path} is missing", remedy=remedy)
    try:
        return Cost(**yaml.safe_load(path.read_text())["cost"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ModelFileDamaged(f"cost file {path} cannot be read: {error}", remedy=remedy) from error

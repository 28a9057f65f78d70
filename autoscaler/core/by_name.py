"""What is asked of an observation by name, once for every model, found without a walk through all that was seen."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from autoscaler.core.observation import IngressSample, Missing, Source


class Names(NamedTuple):
    """Of several under one name the first."""

    ingress: Mapping[str, "IngressSample"]
    """By model."""
    missing: Mapping[tuple["Source", str], "Missing"]


class ByName:
    """Room for the names beside an observation's fields: no part of what it is equal to or written as."""

    __slots__ = ("_names",)
    _names: Names
    if TYPE_CHECKING:  # the observation's own
        ingress: tuple["IngressSample", ...]
        missing: tuple["Missing", ...]

    @property
    def names(self) -> Names:
        """Made when first asked for."""
        try:
            return self._names
        except AttributeError:
            ingress = {sample.model: sample for sample in reversed(self.ingress)}
            missing = {(each.source, each.name): each for each in reversed(self.missing)}
            object.__setattr__(self, "_names", Names(ingress, missing))
            return self._names

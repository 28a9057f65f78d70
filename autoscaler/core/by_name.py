"""What is asked of an observation by name, more than once in a tick, found without a walk through all that was seen."""

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from autoscaler.core.observation import DeploymentSeen, IngressSample, Missing, Source


class Names(NamedTuple):
    """Of several under one name the first."""

    ingress: Mapping[str, "IngressSample"]
    """By model."""
    missing: Mapping[tuple["Source", str], "Missing"]
    lived_in: frozenset[str | None]
    """Workers in which a replica runs."""


class ByName:
    """Room for the names beside an observation's fields: no part of what it is equal to or written as."""

    __slots__ = ("_names",)
    _names: Names
    if TYPE_CHECKING:  # the observation's own
        ingress: tuple["IngressSample", ...]
        missing: tuple["Missing", ...]
        deployments: tuple["DeploymentSeen", ...]

    @property
    def names(self) -> Names:
        """Made when first asked for."""
        try:
            return self._names
        except AttributeError:
            ingress = {sample.model: sample for sample in reversed(self.ingress)}
            missing = {(each.source, each.name): each for each in reversed(self.missing)}
            lived_in = frozenset(chain.from_iterable([seen.lived_in for seen in self.deployments]))
            object.__setattr__(self, "_names", Names(ingress, missing, lived_in))
            return self._names

    @property
    def lived_in(self) -> frozenset[str | None]:
        """Workers in which a replica runs, whether or not it could be read."""
        return self.names.lived_in

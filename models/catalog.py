"""Which kinds of model there are: one entry each, nothing is discovered."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from models import file_type, synthetic, text_embedder
from models.model import Model

FACTORIES: Mapping[str, Callable[..., Model[Any, Any]]] = MappingProxyType(
    {
        text_embedder.KIND: text_embedder.TextEmbedder,
        file_type.KIND: file_type.FileType,
        synthetic.KIND: synthetic.Synthetic,
    }
)


class CatalogError(ValueError):
    """A model was asked for by a kind or parameter that does not exist."""


def create(kind: str, **parameters: object) -> Model[Any, Any]:
    """A model of this kind, not loaded yet. Raises `CatalogError`, or `ValueError` for a parameter out of range."""
    if kind not in FACTORIES:
        raise CatalogError(f"model kind is {kind!r}; known kinds are {', '.join(sorted(FACTORIES))}")
    factory = FACTORIES[kind]
    known = inspect.signature(factory).parameters
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise CatalogError(f"{kind} has no parameter {', '.join(unknown)}; it takes {', '.join(known)}")
    return factory(**parameters)

"""A source and its parameters -> a model. Built-in ones have one entry each; nothing is discovered."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, cast

from models import file_type, imported, onnx_file, source, synthetic, text_embedder
from models.model import Model
from models.strangers import told

FACTORIES: Mapping[str, Callable[..., Model[Any, Any]]] = MappingProxyType(
    {
        text_embedder.KIND: text_embedder.TextEmbedder,
        file_type.KIND: file_type.FileType,
        synthetic.KIND: synthetic.Synthetic,
    }
)


class CatalogError(ValueError):
    """A model was asked for by a source or parameter that does not exist."""


def create(text: str, /, **parameters: object) -> Model[Any, Any]:
    """A model of this source, not loaded yet; nothing is downloaded.

    Raises `CatalogError`, `SourceError`, or `ValueError` for a parameter out of range; `ModelDefect` for a class of the
    user's image that is no model.
    """
    match source.parse(text):
        case source.BuiltIn(name=name):
            if name not in FACTORIES:
                raise CatalogError(
                    f"source is {name!r}; built in are {', '.join(sorted(FACTORIES))}, and "
                    f"python:package.module:ClassName and onnx:PATH_OR_URL name models of yours"
                )
            factory = FACTORIES[name]
            _check_parameters(factory, name, parameters)
            return factory(**parameters)
        case source.ImportPath() as path:
            factory = imported.find(path)
            _check_parameters(factory, text, parameters)
            return told(f"{text} cannot be made", partial(factory, **parameters))
        case source.OnnxFile(location=location):
            factory = cast(Callable[..., Model[Any, Any]], partial(onnx_file.OnnxModel, location))
            _check_parameters(factory, source.shown(text), parameters)
            return factory(**parameters)


def _check_parameters(factory: Callable[..., Model[Any, Any]], shown: str, given: Mapping[str, object]) -> None:
    """Refuse parameters that the factory's signature does not have, and miss those that it needs."""
    taken = inspect.signature(factory).parameters.values()
    known = {each.name: each for each in taken if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
    takes_any = any(each.kind is each.VAR_KEYWORD for each in taken)
    unknown = sorted(set(given) - set(known))
    if unknown and not takes_any:
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        raise CatalogError(f"{shown} has no parameter {', '.join(unknown)}; {takes}")
    needed = [name for name, each in known.items() if each.default is each.empty and name not in given]
    if needed:
        raise CatalogError(f"{shown} needs {', '.join(needed)}; give it under parameters")

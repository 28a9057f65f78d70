"""A class of the user's image as a model.

Trust: whoever writes the models file chooses what is imported, so runs code where models are served, as whoever
chooses the image does. Only the named module is imported, and only its named class is called.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

from models.model import Model, ModelMetadata
from models.source import PYTHON, ImportPath
from models.strangers import ModelDefect, told

# What each method of `Model` is called with.
METHODS: Mapping[str, int] = MappingProxyType(
    {
        "example": 0,
        "load": 0,
        "warm_up": 0,
        "items_from_tensors": 1,
        "predict": 1,
        "tensors_from_results": 1,
        "engine_cost_ns": 1,
    }
)
PROPERTIES = ("metadata", "framebuffer_mib")
CONTRACT = "models/README.md says what a model has"


def find(path: ImportPath) -> Callable[..., Model[Any, Any]]:
    """Import the class, and check that it has a model's methods before anything of it is called.

    Raises `ModelDefect`.
    """
    source = f"{PYTHON}{path.module}:{path.name}"
    try:
        module = told(f"{source} cannot be imported", lambda: importlib.import_module(path.module))
    except ModelDefect as error:
        raise ModelDefect(f"{error}; install it in the serving image, or put its folder on PYTHONPATH") from error
    found = getattr(module, path.name, None)
    if found is None:
        classes = [name for name, value in vars(module).items() if inspect.isclass(value) and name[0] != "_"]
        here = f"its classes are {', '.join(classes)}" if classes else "it has no class"
        raise ModelDefect(f"{source}: {path.module} has no {path.name}; {here}")
    if not inspect.isclass(found):
        raise ModelDefect(f"{source} is a {type(found).__name__}; name a class")
    wrong = [said for name, given in METHODS.items() if (said := _wrong_method(found, name, given))]
    if wrong:
        raise ModelDefect(f"{source} is no model: {'; '.join(wrong)}. {CONTRACT}")
    return cast(Callable[..., Model[Any, Any]], found)


def check_properties(model: Model[Any, Any]) -> None:
    """Check what can be asked only of an object, and only once it is loaded. Raises `ModelDefect`."""
    missing = [name for name in PROPERTIES if inspect.getattr_static(model, name, None) is None]
    if missing:
        raise ModelDefect(f"{type(model).__name__} is no model: {', '.join(missing)} missing. {CONTRACT}")
    about: object = told("metadata", lambda: model.metadata)
    if not isinstance(about, ModelMetadata):
        raise ModelDefect(f"metadata is a {type(about).__name__}; make it a models.model.ModelMetadata")
    mib: object = told("framebuffer_mib", lambda: model.framebuffer_mib)
    if isinstance(mib, bool) or not isinstance(mib, int) or mib < 0:
        raise ModelDefect(f"framebuffer_mib is {mib!r}; make it a whole number of MiB, 0 or more")


def _wrong_method(found: type, name: str, given: int) -> str | None:
    """Why a class does not have this method, or None."""
    method = getattr(found, name, None)
    if method is None:
        return f"{name}() is missing"
    if not callable(method):
        return f"{name} is no method"
    is_bound = isinstance(inspect.getattr_static(found, name), staticmethod | classmethod)
    try:
        inspect.signature(method).bind(*(range(given if is_bound else given + 1)))
    except TypeError:
        return f"{name}() takes {given} arguments beside self"
    return None

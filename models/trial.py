"""A model loaded and asked once, as a replica would do it, so that what cannot be served is found before it starts."""

from collections.abc import Mapping
from typing import Any

from models import imported
from models.model import Model
from models.strangers import ModelDefect, told


def load_and_ask(model: Model[Any, Any]) -> None:
    """Load a model and have it answer its own example. Raises `ModelFileError` or `ModelDefect` of one line."""
    told("load()", model.load)
    imported.check_properties(model)
    about = model.metadata
    example = told("example()", model.example)
    expected = {spec.name: spec.datatype for spec in about.inputs}
    if (given := {name: tensor.datatype for name, tensor in example.items()}) != expected:
        raise ModelDefect(f"example() has the inputs {given}; metadata promises {expected}")
    items = told("items_from_tensors(example())", lambda: model.items_from_tensors(example))
    results = told("predict()", lambda: model.predict(items))
    if len(results) != len(items):
        raise ModelDefect(f"predict() gives {len(results)} results for {len(items)} items")
    outputs = told("tensors_from_results()", lambda: model.tensors_from_results(results))
    found = {output.name: (output.datatype, len(output.shape)) for output in outputs}
    promised = {spec.name: (spec.datatype, len(spec.shape)) for spec in about.outputs}
    if found != promised:
        raise ModelDefect(f"tensors_from_results() gives {_said(found)}; metadata promises {_said(promised)}")
    cost_ns: object = told("engine_cost_ns()", lambda: model.engine_cost_ns(items))
    if isinstance(cost_ns, bool) or not isinstance(cost_ns, int) or cost_ns < 0:
        raise ModelDefect(f"engine_cost_ns() gives {cost_ns!r}; make it whole nanoseconds, 0 or more")


def _said(tensors: Mapping[str, tuple[str, int]]) -> str:
    return ", ".join(f"{name} {datatype} of {axes} axes" for name, (datatype, axes) in tensors.items()) or "nothing"

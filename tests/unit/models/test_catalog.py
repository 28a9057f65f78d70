import pytest

from models.catalog import FACTORIES, CatalogError, create
from models.model import Model


def test_an_unknown_source_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        CatalogError,
        match=r"^source is 'ocr'; built in are file_type, synthetic, text_embedder, and python:\S+ and onnx:\S+ name",
    ):
        create("ocr")


def test_an_unknown_parameter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        CatalogError,
        match=r"^synthetic has no parameter colour, sound; it takes base_us, per_item_us, framebuffer_mib$",
    ):
        create("synthetic", colour="red", base_us=1, sound=2)


def test_no_parameter_is_taken_for_the_source() -> None:
    with pytest.raises(CatalogError, match=r"^synthetic has no parameter text; it takes"):
        create("synthetic", text="x")


def test_parameters_reach_the_model() -> None:
    assert create("synthetic", base_us=5, per_item_us=0).engine_cost_ns(["a"]) == 5000


@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_every_model_keeps_the_promise_of_its_metadata(kind: str) -> None:
    model = create(kind)
    assert isinstance(model, Model)
    assert model.framebuffer_mib > 0
    model.load()
    model.warm_up()
    example = model.example()
    assert {name: tensor.datatype for name, tensor in example.items()} == {
        spec.name: spec.datatype for spec in model.metadata.inputs
    }

    items = model.items_from_tensors(example)
    assert {len(items)} == {tensor.shape[0] for tensor in example.values()}
    assert model.engine_cost_ns(items) > 0
    results = model.predict(items)
    assert len(results) == len(items)

    promised = [(spec.name, spec.datatype, (len(items), *spec.shape[1:])) for spec in model.metadata.outputs]
    answered = [(output.name, output.datatype, output.shape) for output in model.tensors_from_results(results)]
    assert (model.metadata.name, answered) == (kind, promised)

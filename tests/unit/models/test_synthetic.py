import pytest

from models.model import InputTensor
from models.synthetic import Synthetic


def test_texts_come_back_as_they_were_sent() -> None:
    model = Synthetic()
    items = model.items_from_tensors({"text": InputTensor(datatype="BYTES", shape=(2,), data=["naïve", ""])})
    (echo,) = model.tensors_from_results(model.predict(items))
    assert (echo.name, echo.datatype, echo.data.tolist()) == ("echo", "BYTES", ["naïve".encode(), b""])


def test_a_batch_costs_what_was_set() -> None:
    model = Synthetic(base_us=2000, per_item_us=500, framebuffer_mib=1024)
    assert model.engine_cost_ns(["a", "b", "c"]) == 3_500_000
    assert model.framebuffer_mib == 1024


def test_a_negative_cost_is_refused() -> None:
    with pytest.raises(ValueError, match="per_item_us is -1; a cost is a number, 0 or more"):
        Synthetic(per_item_us=-1)

"""A model with a set price and no network, for tests and load runs: it echoes its texts.

Its engine time and framebuffer are what it was created with. It spends no time of its own: whoever serves it on an
emulated GPU has the engine spend it, which makes runs repeatable.
"""

from collections.abc import Mapping, Sequence

from models import tensors as tensor_rows
from models.cost import Cost
from models.model import ANY_LENGTH, Datatype, InputTensor, ModelMetadata, OutputTensor, TensorSpec

KIND = "synthetic"

TEXT = TensorSpec(name="text", datatype=Datatype.BYTES, shape=(ANY_LENGTH,))
ECHO = TensorSpec(name="echo", datatype=Datatype.BYTES, shape=(ANY_LENGTH,))


class Synthetic:
    """A `Model` whose item and result are one text."""

    def __init__(self, *, base_us: float = 2000, per_item_us: float = 1000, framebuffer_mib: int = 64) -> None:
        self._cost = Cost(
            base_us=base_us, per_item_us=per_item_us, weights_mib=framebuffer_mib, activation_mib_per_item=0
        )

    @property
    def metadata(self) -> ModelMetadata:
        return ModelMetadata(name=KIND, version="1", platform="synthetic", inputs=(TEXT,), outputs=(ECHO,))

    @property
    def framebuffer_mib(self) -> int:
        return self._cost.weights_mib

    def example(self) -> Mapping[str, InputTensor]:
        return {TEXT.name: InputTensor(datatype=Datatype.BYTES, shape=(1,), data=("The cat sits outside",))}

    def load(self) -> None:
        """Nothing to read."""

    def warm_up(self) -> None:
        self.predict(self.items_from_tensors(self.example()))

    def items_from_tensors(self, tensors: Mapping[str, InputTensor]) -> list[str]:
        return tensor_rows.text_rows(tensor_rows.only_input(tensors, TEXT), TEXT)

    def predict(self, batch: Sequence[str]) -> list[str]:
        return list(batch)

    def tensors_from_results(self, results: Sequence[str]) -> list[OutputTensor]:
        return [tensor_rows.bytes_tensor(ECHO, (text.encode() for text in results))]

    def engine_cost_ns(self, batch: Sequence[str]) -> int:
        return self._cost.engine_ns(items=len(batch))

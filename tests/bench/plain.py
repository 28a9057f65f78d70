"""The peer of the overhead benchmark: the same model in a plain Ray Serve deployment, as a tutorial would write it.

No slot, no queue of its own, no metrics, no batching: what our replica adds is measured against this.
"""

import sys

import numpy as np
import ray
from ray import serve
from starlette.requests import Request

from models.model import InputTensor
from models.text_embedder import TextEmbedder
from vgpu.core import names


class Plain:
    """Text in, vector out."""

    def __init__(self) -> None:
        self._model = TextEmbedder()
        self._model.load()
        self._model.warm_up()

    async def __call__(self, request: Request) -> dict[str, object]:
        texts = (await request.json())["inputs"][0]["data"]
        tensor = InputTensor(datatype="BYTES", shape=(len(texts),), data=texts)
        vectors = self._model.predict(self._model.items_from_tensors({"text": tensor}))
        return {"outputs": [{"name": "embedding", "data": np.stack(vectors).reshape(-1).tolist()}]}


def main(address: str) -> None:
    """Deploy one replica of it beside ours, on a worker of its own."""
    ray.init(address=address, namespace="serve", log_to_driver=False, logging_level="warning")
    options = {"num_cpus": 0, "resources": {names.RAY_RESOURCE_SLOT: 1}}
    deployment = serve.deployment(Plain, max_ongoing_requests=64, ray_actor_options=options)
    serve.run(deployment.bind(), name="plain", route_prefix="/plain")


if __name__ == "__main__":
    main(sys.argv[1])

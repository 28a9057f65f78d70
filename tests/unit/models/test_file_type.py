"""Magika on real bytes of known kinds."""

import json
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from models.file_type import FileKind, FileType
from models.model import Embedder, InputTensor, InvalidInput, ModelFileMissing

SHELL = b"""#!/bin/bash
set -euo pipefail
for file in "$@"; do
  if [ -f "$file" ]; then
    echo "$(wc -l < "$file") $file"
  fi
done | sort -n
"""


def png(width: int, height: int) -> bytes:
    """A grey-scale gradient as a PNG file (ISO/IEC 15948)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = b"".join(b"\x00" + bytes((x * y) % 256 for x in range(width)) for y in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "label", "mime_type"),
    [
        pytest.param(Path(__file__).read_bytes(), "python", "text/x-python", id="this file is python"),
        pytest.param(png(48, 48), "png", "image/png", id="a drawn gradient is a png"),
        pytest.param(
            json.dumps({"slots": [{"node": "a", "units": 500, "busy": 0.25}] * 4}, indent=2).encode(),
            "json",
            "application/json",
            id="a document is json",
        ),
        pytest.param(SHELL, "shell", "text/x-shellscript", id="a script is shell"),
        pytest.param(b"", "empty", "inode/x-empty", id="nothing is empty"),
        pytest.param(b"abc", "txt", "text/plain", id="too short for the network is text"),
        pytest.param(b"\xff\xfe\x00", "unknown", "application/octet-stream", id="too short and no text is unknown"),
    ],
)
def test_real_content_gets_its_label(file_type: FileType, content: bytes, label: str, mime_type: str) -> None:
    (kind,) = file_type.predict([content])
    assert (kind.label, kind.mime_type) == (label, mime_type)
    assert 0.5 < kind.score <= 1


def test_a_content_has_the_same_kind_alone_and_in_a_batch(file_type: FileType) -> None:
    contents = [SHELL, b"", png(16, 16), b"abc"]
    assert file_type.predict(contents) == [file_type.predict([content])[0] for content in contents]


def test_an_answer_has_one_row_per_file_in_every_tensor(file_type: FileType) -> None:
    kinds = [
        FileKind(label="shell", score=0.75, mime_type="text/x-shellscript"),
        FileKind(label="png", score=1.0, mime_type="image/png"),
    ]
    label, score, mime_type = file_type.tensors_from_results(kinds)
    assert (label.name, label.datatype, label.data.tolist()) == ("label", "BYTES", [b"shell", b"png"])
    assert (score.name, score.datatype, score.data.tolist()) == ("score", "FP32", [0.75, 1.0])
    assert score.data.dtype == np.float32
    assert (mime_type.name, mime_type.data.tolist()) == ("mime_type", [b"text/x-shellscript", b"image/png"])


def test_prediction_stays_on_the_calling_thread(file_type: FileType) -> None:
    """Fails where the package no longer opens its network through our session."""
    thread_s, process_s = time.thread_time(), time.process_time()
    file_type.predict([SHELL] * 8)
    thread_s, process_s = time.thread_time() - thread_s, time.process_time() - process_s
    assert process_s < 1.3 * thread_s


def test_engine_cost_grows_with_the_number_of_files_not_their_size(file_type: FileType) -> None:
    assert file_type.engine_cost_ns([b"a"]) == file_type.engine_cost_ns([b"a" * 100_000]) > 0
    assert file_type.engine_cost_ns([b"a"] * 2) > file_type.engine_cost_ns([b"a"])


def test_a_file_model_is_no_embedder(file_type: FileType) -> None:
    assert not isinstance(file_type, Embedder)


def test_wrong_input_names_the_tensor(file_type: FileType) -> None:
    with pytest.raises(InvalidInput) as refused:
        file_type.items_from_tensors({"file": InputTensor(datatype="BYTES", shape=(1,), data=[b"a"])})
    assert str(refused.value) == "file: is not an input of this model; it takes content"


def test_a_missing_network_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelFileMissing, match=rf"model not found at {tmp_path}/model\.onnx; install it again with"):
        FileType(folder=tmp_path).load()


def test_a_batch_without_items_is_refused() -> None:
    with pytest.raises(ValueError, match="largest_batch is -1; a batch holds at least 1 item"):
        FileType(largest_batch=-1)

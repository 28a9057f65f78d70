"""The models that are served, each in a file of its own; README.md says how to add one.

ONNX Runtime 1.32 reports use to its maker and keeps an identifier of the machine in the home directory, unless told not
to before it is first imported. The tokenizer takes every core for a batch, unless told not to: a slot has one thread
here. An operator's own settings win.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

"""The models that are served, each in a file of its own; README.md says how to add one.

ONNX Runtime 1.32 reports use to its maker and keeps an identifier of the machine in the home directory, unless told not
to before it is first imported; an operator's own setting wins.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

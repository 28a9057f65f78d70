import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
LOAD_ALL = """
from models import catalog
for kind in catalog.FACTORIES:
    model = catalog.create(kind)
    model.load()
    model.warm_up()
"""


def test_loading_every_model_leaves_nothing_in_the_home_directory(tmp_path: Path) -> None:
    """Neither a cache nor ONNX Runtime's telemetry files, which appear on import unless the package prevents it."""
    # Nothing else of this environment: on CI machines the runtime keeps silent by itself.
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", LOAD_ALL], check=True, cwd=REPOSITORY, env=environment, timeout=60)
    assert list(tmp_path.iterdir()) == []

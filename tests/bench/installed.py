"""An installation for a benchmark: free ports, and no worker taken away while figures are being read."""

import sys
from pathlib import Path

from autoscaler import config
from autoscaler.embedded import addresses, fleet
from autoscaler.embedded.installation import Installation, Plan

MODELS = """
models:
  minilm:
    source: text_embedder
    slot: v100-8q-8GB
    objective_p95_ms: 400
    serving: {max_batch_size: 4, max_queue: 2000, max_deadline_ms: 30000}
    autoscaling: {min_replicas: 1, max_replicas: 3}
policy: {window_s: 6}
guardrails: {settle_up_s: 8, worker_keep_s: 100000}
"""


def install(directory: Path, *, cost_ratio: float, dry_run: bool = False) -> Installation:
    """A system with MiniLM; `cost_ratio` is the emulated GPU's time over the reference engine's.

    In a dry run the autoscaler changes nothing: the benchmark does.
    """
    directory.mkdir(parents=True, exist_ok=True)
    models = directory / "models.yaml"
    models.write_text(MODELS)
    cards = fleet.default().model_copy(update={"cost_ratio": cost_ratio})
    plan = Plan(
        models=models,
        spec=config.load(models),
        fleet=cards,
        ports=addresses.choose({}),
        run_directory=directory / "run",
        dry_run=dry_run,
    )
    return Installation(plan, progress=lambda what: print(f"  {what}", file=sys.stderr))

"""`make bench`: medians and ratios, each against a peer in the same run. Timing is never a pass or fail test."""

import json
import sys
from pathlib import Path

from autoscaler.embedded import guard
from tests.bench import overhead, reaction


def main() -> int:
    """Run both benchmarks; the figures go to standard output as JSON."""
    directory = Path(".run") / "bench"
    results = {"overhead": overhead.measure(directory), "reaction": reaction.measure(directory)}
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(guard.run(main))

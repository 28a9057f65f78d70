"""What is claimed of the control law, each claim as an experiment with a pass mark: `python -m tests.bench.law`.

Everything here is simulated, but for `e10_live`, which holds the simulator against a live system. A module `eN` has
`measure(options) -> Report` and runs by itself: figures go to standard output as JSON, a table to standard error.
"""

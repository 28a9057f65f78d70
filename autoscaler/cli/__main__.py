"""`python -m autoscaler.cli`: the same as `vgpu-serve`."""

from autoscaler.cli import main

main()

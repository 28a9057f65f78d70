"""One process: changes how physical GPUs are cut, by day and by night."""

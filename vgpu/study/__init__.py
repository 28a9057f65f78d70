"""The packing experiment: pods of a list arrive at the nodes of another until demand is 130 % of the GPUs."""

"""A modelled fleet under a trace, steered by the same `decide` as the live one: to compare laws before trusting one."""

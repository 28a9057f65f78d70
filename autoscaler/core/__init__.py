"""The autoscaler's decisions, pure: no clock, no I/O, no logging, no environment; time is the argument `now_s`.

In the order in which a tick passes through the files: spec, observation (with histogram), window, contention, signals,
evidence, policy, guardrails, placement, decision, actions; state is what is kept between ticks and decide is the one
entrance.
"""

"""Settings for all tests."""

from hypothesis import HealthCheck, settings

# Examples are timed on a machine that others use too: a slow one says nothing about the code.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

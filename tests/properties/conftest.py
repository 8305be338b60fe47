"""How long properties are searched: HYPOTHESIS_PROFILE=thorough for a night."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "quick",
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE; the seed of a run is `--hypothesis-seed`, which make passes."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# The machine may be slow or shared: a time limit belongs to the run (pytest-timeout), not to one example.
_COMMON = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("dev", max_examples=100, **_COMMON)
settings.register_profile("asan", max_examples=20, **_COMMON)
settings.register_profile("campaign", max_examples=10_000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_report_header(config: pytest.Config) -> str:
    return f"hypothesis seed: {config.getoption('--hypothesis-seed')}"

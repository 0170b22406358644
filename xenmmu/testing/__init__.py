"""Hypothesis strategies and the state machine of the founding property, for users' own tests.

Needs the extra ``test`` (hypothesis); nothing else in the package imports it.
"""

from __future__ import annotations

from xenmmu.testing.machine import GuestMachine
from xenmmu.testing.world import World

__all__ = ["GuestMachine", "World"]

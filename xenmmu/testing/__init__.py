"""Hypothesis strategies and the state machine of the founding property, for users' own tests.

Needs the extra ``test`` (hypothesis); nothing else in the package imports it.
"""

from __future__ import annotations

from xenmmu.testing.kernel import KernelMachine
from xenmmu.testing.machine import GuestMachine
from xenmmu.testing.search import Failure, falsify, replay
from xenmmu.testing.world import KernelWorld, World

__all__ = ["Failure", "GuestMachine", "KernelMachine", "KernelWorld", "World", "falsify", "replay"]

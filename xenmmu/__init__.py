"""A bit-accurate x86-64 page-table emulator: the hardware walk, Xen's PV validation, NetBSD's pmap on top."""

from xenmmu import pte
from xenmmu.errors import (
    BadArgument,
    BadState,
    GeneralProtection,
    GuestPanic,
    OutOfFrames,
    OutOfRange,
    PageFault,
    SegmentNotPresent,
    StackFault,
    XenMMUError,
)
from xenmmu.machine import Machine
from xenmmu.x86 import Cpu

__version__ = "0.1.0"
__all__ = [
    "BadArgument",
    "BadState",
    "Cpu",
    "GeneralProtection",
    "GuestPanic",
    "Machine",
    "OutOfFrames",
    "OutOfRange",
    "PageFault",
    "SegmentNotPresent",
    "StackFault",
    "XenMMUError",
    "pte",
]

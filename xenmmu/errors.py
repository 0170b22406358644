"""The exceptions of the library, and the one place that turns a status of the C core into one.

A page fault or a refusal by Xen is a result, not an exception; what is raised here is misuse, exhaustion, or a fault
of a load, store or fetch that the caller asked for.
"""

from __future__ import annotations

from typing import NoReturn

from xenmmu._core import ffi, lib


class XenMMUError(Exception):
    """Base of every exception this library raises."""


class BadArgument(XenMMUError, ValueError):
    """An argument outside its domain: a bad size, an unaligned address, an unknown name."""


class OutOfRange(BadArgument, IndexError):
    """An address or frame that the machine does not have."""


class BadState(XenMMUError, RuntimeError):
    """The call does not apply in the object's present state."""


class OutOfFrames(XenMMUError, MemoryError):
    """The machine or the domain has no free frame left, or is too small for what was asked."""


class GuestPanic(XenMMUError):
    """The emulated guest kernel met a fault or a refusal that its code does not expect."""


class NotModelled(XenMMUError, NotImplementedError):
    """Real Xen does this, the model does not."""


class GeneralProtection(XenMMUError):
    """#GP: a non-canonical address, or a register value or selector that the processor refuses."""

    #: What the handler sees: 0 but for a selector, which it names.
    error_code = 0


class StackFault(GeneralProtection):
    """#SS(0): what is #GP(0) elsewhere, a non-canonical address, in an access relative to the stack segment.

    Only accesses made with ``stack=True`` raise it; who asks for the address alone may catch GeneralProtection.
    """


class SegmentNotPresent(XenMMUError):
    """#NP: the selector's descriptor says that its segment is not present; ``error_code`` names the selector."""

    def __init__(self, error_code: int) -> None:
        super().__init__(error_code)
        self.error_code = error_code

    def __str__(self) -> str:
        return f"#NP, error code {self.error_code:#x}"


class PageFault(XenMMUError):
    """#PF: ``va`` is CR2, ``error_code`` the code the handler sees."""

    def __init__(self, va: int, error_code: int) -> None:
        super().__init__(va, error_code)
        self.va = va
        self.error_code = error_code

    def __str__(self) -> str:
        return f"#PF at {self.va:#x}, error code {self.error_code:#x}"


_BY_STATUS: dict[int, type[XenMMUError]] = {
    lib.XM_E_ARGUMENT: BadArgument,
    lib.XM_E_RANGE: OutOfRange,
    lib.XM_E_ALIGNMENT: BadArgument,
    lib.XM_E_GP: GeneralProtection,
    lib.XM_E_STATE: BadState,
    lib.XM_E_NO_FRAMES: OutOfFrames,
    lib.XM_E_LIMIT: BadState,
    lib.XM_E_MEMORY: OutOfFrames,
    lib.XM_E_PANIC: GuestPanic,
    lib.XM_E_NOT_MODELLED: NotModelled,
}


def fail(status: int, what: str) -> NoReturn:
    """Raise the exception for a negative status; `what` names the call and its argument."""
    text = ffi.string(lib.xm_strerror(status)).decode()
    raise _BY_STATUS.get(status, XenMMUError)(f"{what}: {text}")

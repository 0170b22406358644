"""Floor 0: frames of machine memory and an undo journal; it does not know what is in them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xenmmu._core import ffi, lib
from xenmmu.errors import BadArgument, OutOfFrames, fail

PAGE_SIZE = 4096


class Machine:
    """Machine memory of `size` bytes, all zero; a page of it costs host memory once it is touched.

    `size` is a positive multiple of 4096.  Raises BadArgument for another size and OutOfFrames when the host cannot
    reserve the address range.  One thread per machine; different machines may run in parallel.
    """

    __slots__ = ("__weakref__", "_c", "_views", "frames")

    def __init__(self, size: int) -> None:
        if not isinstance(size, int) or size <= 0 or size % PAGE_SIZE:
            raise BadArgument(f"machine size {size!r} is not a positive multiple of {PAGE_SIZE}")
        c = lib.xm_machine_new(size) if size < 1 << 63 else ffi.NULL
        if c == ffi.NULL:
            raise OutOfFrames(f"the host cannot reserve {size} bytes of machine memory")
        self._c: Any = ffi.gc(c, lib.xm_machine_free)
        #: Number of 4096-byte frames.
        self.frames: int = size // PAGE_SIZE
        # Frame views that are alive, by frame: what is written through them cannot be journalled word by word, so a
        # trial copies these frames whole.
        self._views: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def __repr__(self) -> str:
        return f"Machine({self.frames * PAGE_SIZE:#x})"

    @property
    def size(self) -> int:
        """Bytes of machine memory."""
        return self.frames * PAGE_SIZE

    def read64(self, pa: int) -> int:
        """Read the aligned 8-byte word at machine address `pa`, little-endian."""
        out = ffi.new("uint64_t *")
        try:
            status = lib.xm_read64(self._c, pa, out)
        except (OverflowError, TypeError):
            raise BadArgument(f"read64({pa!r}): not a machine address") from None
        if status:
            fail(status, f"read64({pa:#x})")
        value: int = out[0]
        return value

    def write64(self, pa: int, value: int) -> None:
        """Write the aligned 8-byte word at machine address `pa`, little-endian."""
        try:
            status = lib.xm_write64(self._c, pa, value)
        except (OverflowError, TypeError):
            raise BadArgument(f"write64({pa!r}, {value!r}): not an address and a 64-bit value") from None
        if status:
            fail(status, f"write64({pa:#x})")

    def read(self, pa: int, n: int) -> bytes:
        """Read `n` bytes from machine address `pa`; they may cross frames."""
        if not hasattr(n, "__index__") or n < 0 or n > self.size:
            raise BadArgument(f"read({pa!r}, {n!r}): not a number of bytes of this machine")
        out = bytearray(n)
        try:
            status = lib.xm_read(self._c, pa, ffi.from_buffer(out), n)
        except (OverflowError, TypeError):
            raise BadArgument(f"read({pa!r}, {n!r}): not a machine address") from None
        if status:
            fail(status, f"read({pa:#x}, {n})")
        return bytes(out)

    def write(self, pa: int, data: Any) -> None:
        """Write `data`, anything with a contiguous buffer, at machine address `pa`; all of it or nothing."""
        try:
            source = ffi.from_buffer(data)
        except (TypeError, ValueError, BufferError):
            raise BadArgument(f"write({pa!r}): {type(data).__name__} is no contiguous buffer") from None
        try:
            status = lib.xm_write(self._c, pa, source, len(source))
        except (OverflowError, TypeError):
            raise BadArgument(f"write({pa!r}): not a machine address") from None
        if status:
            fail(status, f"write({pa:#x}, {len(source)} bytes)")

    def frame(self, mfn: int) -> memoryview:
        """Return the 4096 bytes of frame `mfn` as a writable view: no copy, shared with the machine.

        ``frame(mfn).cast("Q")`` is the frame as 512 entries.
        """
        try:
            buffer = self._views.get(mfn)
        except TypeError:
            raise BadArgument(f"frame({mfn!r}): not a frame number") from None
        if buffer is None:
            try:
                p = lib.xm_machine_frame(self._c, mfn)
            except (OverflowError, TypeError):
                raise BadArgument(f"frame({mfn!r}): not a frame number") from None
            if p == ffi.NULL:
                fail(lib.XM_E_RANGE, f"frame({mfn:#x})")
            # The view keeps the mapping alive: a cdata with a destructor that holds the machine.
            owner = self._c
            buffer = ffi.buffer(ffi.gc(ffi.cast("char *", p), lambda _, keep=owner: None), PAGE_SIZE)
            self._views[mfn] = buffer
        if lib.xm_checkpoint_depth(self._c):
            # Noted before the caller can write through the view.
            lib.xm_write(self._c, mfn * PAGE_SIZE, buffer[:], PAGE_SIZE)
        return memoryview(buffer)

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Undo, at the end of the block, everything done in it: by this machine and by every floor built on it.

        Trials nest.  The cost is that of the words written (and of a copy of each frame whose view is alive).
        """
        status = lib.xm_checkpoint(self._c)
        if status:
            fail(status, "trial()")
        self._note_views()
        try:
            yield
        finally:
            status = lib.xm_rollback(self._c)
            if status:
                fail(status, "end of trial()")
            if lib.xm_checkpoint_depth(self._c):
                # A view taken in the inner trial was noted for that one only.
                self._note_views()

    def _note_views(self) -> None:
        """Let the newest trial undo what will be written through the views that are alive."""
        for mfn, buffer in list(self._views.items()):
            lib.xm_write(self._c, mfn * PAGE_SIZE, buffer[:], PAGE_SIZE)

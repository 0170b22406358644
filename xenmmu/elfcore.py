"""Floor 1: core files of x86-64 machines: which frames of memory they hold, and the registers of the first processor.

Knows: ELF64 core files as QEMU's ``dump-guest-memory`` writes them (System V ABI, gABI chapter 5: PT_LOAD with p_paddr
the machine address, PT_NOTE), QEMU's note with all registers (``QEMUCPUState`` of its source, target/i386) and the
``XENMMU`` note of reduced images; either may be compressed by xz.  Does not know: which system ran.

Memory that is in no segment is missing, not zero: a machine made from an image refuses to read it.
"""

from __future__ import annotations

import lzma
import os
import struct
from typing import Any, NamedTuple

from xenmmu._core import ffi, lib
from xenmmu.errors import BadArgument, fail
from xenmmu.machine import PAGE_SIZE, Machine

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_NHDR = struct.Struct("<III")
_ET_CORE, _EM_X86_64, _PT_LOAD, _PT_NOTE = 4, 62, 1, 4
_XZ = b"\xfd7zXZ\0"
# More than any program header table of a real image, and than any machine here.
_MOST_BYTES = 1 << 46


class BadImage(BadArgument):
    """A file that is no memory image of an x86-64 machine, or is damaged."""


class Registers(NamedTuple):
    """What paging depends on; ``efer`` is None where the image does not say."""

    cr0: int
    cr2: int
    cr3: int
    cr4: int
    efer: int | None
    cpl: int


class Segment(NamedTuple):
    """A run of frames: the first one's number, and the bytes."""

    mfn: int
    data: memoryview


class Note(NamedTuple):
    """An ELF note."""

    name: bytes
    type: int
    data: bytes


class Core:
    """A memory image: its segments by machine address, its notes, the registers of its first processor.

    `path` is an ELF64 core file, or one compressed by xz.  Raises OSError when it cannot be read, BadImage when it is
    no such file, is of another architecture, or ends too early.
    """

    __slots__ = ("notes", "path", "registers", "segments")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        with open(self.path, "rb") as file:
            data = file.read()
        if data.startswith(_XZ):
            try:
                data = lzma.decompress(data)
            except (lzma.LZMAError, EOFError) as error:
                raise BadImage(f"{self.path}: damaged xz file: {error}") from None
        self.segments: tuple[Segment, ...]
        self.notes: tuple[Note, ...]
        self.segments, self.notes = self._read(memoryview(data))
        #: None where no note holds them.
        self.registers = self._registers()

    def __repr__(self) -> str:
        return f"Core({self.path!r})"

    def _bad(self, why: str) -> BadImage:
        return BadImage(f"{self.path}: {why}")

    def _read(self, data: memoryview) -> tuple[tuple[Segment, ...], tuple[Note, ...]]:
        if bytes(data[:4]) != b"\x7fELF":
            raise self._bad("not an ELF file")
        if len(data) < _EHDR.size:
            raise self._bad("ends within the ELF header")
        ident, kind, machine, _, _, phoff, _, _, _, phentsize, phnum, *_ = _EHDR.unpack_from(data)
        if ident[4:6] != b"\2\1" or kind != _ET_CORE or machine != _EM_X86_64:
            raise self._bad("not a core file of an x86-64 machine")
        if phentsize != _PHDR.size or phnum == 0xFFFF or phoff + phnum * phentsize > len(data):
            raise self._bad("damaged or truncated program headers")
        segments, notes = [], []
        placed: list[tuple[int, int, int]] = []
        for i in range(phnum):
            kind, _, offset, _, pa, filesz, memsz, _ = _PHDR.unpack_from(data, phoff + i * phentsize)
            if kind not in (_PT_LOAD, _PT_NOTE):
                continue
            if offset + filesz > len(data):
                raise self._bad(f"truncated: segment {i} ends at byte {offset + filesz} of {len(data)}")
            if kind == _PT_NOTE:
                notes += self._read_notes(bytes(data[offset : offset + filesz]))
            elif pa % PAGE_SIZE or filesz % PAGE_SIZE or filesz > memsz or pa + filesz > _MOST_BYTES:
                raise self._bad(f"segment {i} is not made of whole frames")
            elif filesz:
                segments.append(Segment(pa // PAGE_SIZE, data[offset : offset + filesz]))
                placed.append((pa, filesz, offset))
        if not segments:
            raise self._bad("holds no memory")
        self._check_overlaps(sorted(placed))
        return tuple(segments), tuple(notes)

    def _check_overlaps(self, placed: list[tuple[int, int, int]]) -> None:
        """A dump by linear address has the same bytes several times; two versions of a frame are damage."""
        end, shift = 0, 0
        for pa, size, offset in placed:
            if pa < end and offset - pa != shift:
                raise self._bad(f"two segments hold frame {pa // PAGE_SIZE:#x}")
            if pa + size > end:
                end, shift = pa + size, offset - pa

    def _read_notes(self, data: bytes) -> list[Note]:
        notes, at = [], 0
        while at + _NHDR.size <= len(data):
            name_size, size, kind = _NHDR.unpack_from(data, at)
            name = at + _NHDR.size
            start = name + (name_size + 3) // 4 * 4
            if start + size > len(data):
                raise self._bad("a note is longer than its segment")
            notes.append(Note(data[name : name + name_size].rstrip(b"\0"), kind, data[start : start + size]))
            at = start + (size + 3) // 4 * 4
        return notes

    def _registers(self) -> Registers | None:
        for note in self.notes:
            if note.name == b"XENMMU" and note.type == 1 and len(note.data) >= 48:
                return Registers(*struct.unpack_from("<6Q", note.data))
            # u32 version, u32 size; 18 registers, 10 segments of 24 bytes (selector first), CR0 to CR4.
            if note.name == b"QEMU" and len(note.data) >= 432 and note.data[:4] == b"\1\0\0\0":
                (cs,) = struct.unpack_from("<I", note.data, 152)
                cr0, _, cr2, cr3, cr4 = struct.unpack_from("<5Q", note.data, 392)
                return Registers(cr0, cr2, cr3, cr4, None, cs & 3)
        return None

    @property
    def frames(self) -> int:
        """One more than the highest frame that the image holds."""
        return max(s.mfn + len(s.data) // PAGE_SIZE for s in self.segments)

    def machine(self, frames: int | None = None) -> Machine:
        """Return a new machine of `frames` frames, by default those up to the highest held, with the image in place.

        It has the frames of the image and no others: reading one of those is OutOfRange until it is written whole.
        """
        frames = self.frames if frames is None else frames
        if not isinstance(frames, int) or frames < self.frames:
            raise BadArgument(f"{frames!r} frames are too few: the image holds frame {self.frames - 1:#x}")
        return self._machine(frames)

    def _machine(self, frames: int) -> Machine:
        """As `machine`, and what the image holds beyond is left out."""
        m = Machine(frames * PAGE_SIZE)
        status = lib.xm_machine_forget(m._c)
        if status:
            fail(status, "machine()")
        for mfn, data in self.segments:
            if mfn < frames:
                m.write(mfn * PAGE_SIZE, data[: (frames - mfn) * PAGE_SIZE])
        return m


def read_words(path: str | os.PathLike[str]) -> Any:
    """Return the little-endian 64-bit words of a file, perhaps compressed by xz, as a C array.

    Raises OSError when it cannot be read, BadImage when it is damaged or no sequence of such words.
    """
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(_XZ):
        try:
            data = lzma.decompress(data)
        except (lzma.LZMAError, EOFError) as error:
            raise BadImage(f"{os.fspath(path)}: damaged xz file: {error}") from None
    if len(data) % 8:
        raise BadImage(f"{os.fspath(path)}: {len(data)} bytes are no sequence of 64-bit words")
    return ffi.from_buffer("uint64_t[]", data)

"""What the manuals say of a memory access under IA-32e paging, as flat as it can be said.

Written from SDM vol. 3A (4.5 entries, 4.6 rights, 4.7 error codes, 4.8 accessed and dirty) and APM vol. 2 chapter 5,
without looking at the emulator.  Memory is a bytearray, everything else is arguments and results; nothing is cached and
nothing is fast.  Where the manuals leave a choice, the choice made is marked CHOICE.
"""

from __future__ import annotations

from dataclasses import dataclass, field


def bit(value: int, n: int) -> int:
    return (value >> n) & 1


def bits(value: int, high: int, low: int) -> int:
    return (value >> low) & ((1 << (high - low + 1)) - 1)


@dataclass
class State:
    """The control state that paging reads."""

    cr0: int = 0x80010001
    cr3: int = 0
    cr4: int = 0x20
    efer: int = 0xD00
    maxphyaddr: int = 46
    vendor: str = "intel"
    gbpages: bool = True
    pkru: int = 0
    pkrs: int = 0
    ac: bool = False
    #: The A flags a page fault leaves: "none", or "upper", those above the entry that stopped the walk.
    a_on_fault: str = "none"

    @property
    def wp(self) -> int:
        return bit(self.cr0, 16)

    @property
    def la57(self) -> int:
        return bit(self.cr4, 12)

    @property
    def smep(self) -> int:
        return bit(self.cr4, 20)

    @property
    def smap(self) -> int:
        return bit(self.cr4, 21)

    @property
    def pke(self) -> int:
        return bit(self.cr4, 22)

    @property
    def cet(self) -> int:
        return bit(self.cr4, 23)

    @property
    def pks(self) -> int:
        return bit(self.cr4, 24)

    @property
    def nxe(self) -> int:
        return bit(self.efer, 11)


@dataclass
class Outcome:
    """`fault`: None, "#PF", "#GP", "#SS", "#UD", or "outside" when a table lies outside memory."""

    fault: str | None = None
    code: int | None = None
    pa: int | None = None
    page_size: int = 0
    #: Addresses of the entries, and of those above the last.
    used: list[int] = field(default_factory=list)
    above: list[int] = field(default_factory=list)


def canonical(s: State, va: int) -> bool:
    """All bits from the top implemented one up are equal."""
    top = 56 if s.la57 else 47
    high = va >> top
    return high in (0, (1 << (64 - top)) - 1)


def reserved(s: State, level: int, entry: int) -> bool:
    """Does a present entry of this level have a reserved bit set?"""
    large = bit(entry, 7) == 1 and level in (2, 3)
    if s.maxphyaddr < 52 and bits(entry, 51, s.maxphyaddr):
        return True
    if bit(entry, 63) and not s.nxe:
        return True
    if level in (4, 5) and bit(entry, 7):
        return True
    if level == 3 and large and not s.gbpages:
        return True
    if level == 3 and large and bits(entry, 29, 13):
        return True
    if level == 2 and large and bits(entry, 20, 13):
        return True
    # AMD: bit 8 must be zero in a PML5E and a PML4E; a PDPTE or PDE that refers to a table ignores it, as Intel does.
    return bool(s.vendor == "amd" and bit(entry, 8) and level >= 4)


def walk(
    mem: bytes | bytearray, s: State, va: int, access: str, user: bool, implicit: bool = False, stack: bool = False
) -> Outcome:
    """The outcome of one access that lies in one page; `stack`: its address is relative to the stack segment."""
    shadow = access == "shadow_read" or access == "shadow_write"
    write, fetch = access == "write" or access == "shadow_write", access == "execute"
    by_user = user and not implicit
    out = Outcome()
    # Shadow stacks exist with CR4.CET only.
    if shadow and not s.cet:
        out.fault, out.code = "#UD", 0
        return out
    if not canonical(s, va):
        out.fault, out.code = ("#SS" if stack else "#GP"), 0
        return out
    # 4.7: what the code says of the access, whatever stops it.
    code = 2 * write + 4 * by_user + 16 * (fetch and bool(s.smep or s.nxe)) + 64 * shadow

    # 4.5: the translation, from the root down.
    entries: list[int] = []
    above: list[int] = []
    table = bits(s.cr3, 51, 12) << 12
    for level in (5, 4, 3, 2, 1) if s.la57 else (4, 3, 2, 1):
        low = 12 + 9 * (level - 1)
        at = table + 8 * bits(va, low + 8, low)
        if at + 8 > len(mem):
            out.fault = "outside"
            return out
        entry = int.from_bytes(mem[at : at + 8], "little")
        out.used.append(at)
        if not bit(entry, 0):
            out.fault, out.code = "#PF", code
            return out
        if reserved(s, level, entry):
            out.fault, out.code = "#PF", code | 1 | 8
            return out
        entries.append(entry)
        if level == 1 or (level in (2, 3) and bit(entry, 7)):
            out.page_size = 1 << low
            break
        above.append(entry)
        out.above.append(at)
        table = bits(entry, 51, 12) << 12
    leaf = entries[-1]

    # 4.6: rights.  A user-mode address has U/S = 1 in every entry.
    user_address = all(bit(e, 2) for e in entries)
    writable = all(bit(e, 1) for e in entries)
    execute_disabled = bool(s.nxe) and any(bit(e, 63) for e in entries)
    # 4.6: the page of a shadow stack is read-only and dirty, by a leaf below entries that are writable.
    shadow_stack = all(bit(e, 1) for e in above) and not bit(leaf, 1) and bool(bit(leaf, 6))
    if shadow:
        # Only in a shadow stack, and in one of the mode of the access; SMAP and WP do not matter.
        ok = shadow_stack and user_address == by_user
    elif by_user:
        ok = user_address
        if write:
            ok = ok and writable
        if fetch:
            ok = ok and not execute_disabled
    elif fetch:
        ok = not execute_disabled and not (user_address and s.smep)
    else:
        ok = not (user_address and s.smap and (implicit or not s.ac))
        if write:
            ok = ok and (writable or not s.wp)

    # 4.6.2: protection keys.  They never apply to fetches, nor a supervisor key to a user access.
    # CHOICE: the manual does not settle whether PK is set when a user access meets a supervisor page; it is not.
    key = bits(leaf, 62, 59)
    key_denies = False
    if not fetch:
        if user_address and s.pke:
            access_disable, write_disable = bit(s.pkru, 2 * key), bit(s.pkru, 2 * key + 1)
            key_denies = bool(access_disable or (write and write_disable and (by_user or s.wp)))
        elif not user_address and s.pks and not by_user:
            access_disable, write_disable = bit(s.pkrs, 2 * key), bit(s.pkrs, 2 * key + 1)
            key_denies = bool(access_disable or (write and write_disable and s.wp))

    if not ok or key_denies:
        out.fault, out.code = "#PF", code | 1 | (32 if key_denies else 0)
        return out
    base = bits(leaf, 51, 12) << 12
    out.pa = base - base % out.page_size + va % out.page_size
    return out


def access_page(mem: bytearray, s: State, va: int, access: str, user: bool, stack: bool = False) -> Outcome:
    """The same, and 4.8: A in every entry used, D in the leaf of a write.  CHOICE: what a fault sets, in the state."""
    out = walk(mem, s, va, access, user, stack=stack)
    if out.fault is None:
        for at in out.used:
            mem[at] |= 0x20
        if access == "write" or access == "shadow_write":
            mem[out.used[-1]] |= 0x40
    elif out.fault == "#PF" and s.a_on_fault == "upper":
        for at in out.above:
            mem[at] |= 0x20
    return out


def access(
    mem: bytearray, s: State, va: int, size: int, access: str, user: bool, value: int = 0, stack: bool = False
) -> tuple[str | None, int, int]:
    """A load, store or fetch of `size` bytes: (fault, CR2 or 0, error code), or (None, value loaded, 0).

    CHOICE: the lower page of an access that straddles two is translated first, with its A and D; CR2 is the first byte
    in the page that faulted; canonical form of the whole is checked before either.  Whether there is memory matters
    only when neither faults.
    """
    if (access == "shadow_read" or access == "shadow_write") and not s.cet:
        return "#UD", 0, 0
    parts = [(va + i) % (1 << 64) for i in range(size)]
    if not all(canonical(s, part) for part in parts):
        return ("#SS" if stack else "#GP"), 0, 0
    first_of_page = [part for i, part in enumerate(parts) if i == 0 or part % 4096 == 0]
    where: dict[int, int] = {}
    for start in first_of_page:
        out = access_page(mem, s, start, access, user, stack)
        if out.fault == "outside":
            return "outside", 0, 0
        if out.fault:
            assert out.code is not None
            return out.fault, start, out.code
        assert out.pa is not None
        where[start // 4096] = out.pa - out.pa % 4096
    if any(page + 4096 > len(mem) for page in where.values()):
        return "outside", 0, 0
    places = [where[part // 4096] + part % 4096 for part in parts]
    if access == "write" or access == "shadow_write":
        for i, place in enumerate(places):
            mem[place] = (value >> (8 * i)) & 255
        return None, 0, 0
    return None, int.from_bytes(bytes(mem[place] for place in places), "little"), 0

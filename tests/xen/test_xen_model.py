"""Random hypercalls and accesses on the core and on a second model of the same rules, written here in Python from Xen's
behaviour and not from the C; after each step the same answer, at the end the same books and the same memory.

Left out of the model: the TLB, counters, foreign domains.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from xenmmu import PageFault, xen

P, RW, US, PWT, PCD, A, D, PAT, G = (1 << i for i in range(9))
K, NX = 1 << 52, 1 << 63
MFN = (1 << 40) - 1
EPERM, ESRCH, EACCES, EBUSY, EINVAL, ENOSYS = 1, 3, 13, 16, 22, 38
SELF, IO, XEN = xen.DOMID_SELF, xen.DOMID_IO, xen.DOMID_XEN
WRITABLE = 7
FAST = NX | 0x7FF << 52 | 0xE00 | G | D | A | US
SIGN = 0xFFFF << 48


def mfn_of(entry: int) -> int:
    return entry >> 12 & MFN


def adjust(level: int, entry: int) -> int:
    if not entry & P:
        return entry
    if level > 1:
        return entry | US | (A if level == 4 else 0)
    if not entry & US:
        return entry | US | K
    return entry if entry & K else entry | G


class Page:
    def __init__(self, f: xen.FrameInfo) -> None:
        self.owner, self.heap = f.owner, f.xen_heap
        self.count, self.type, self.tcount = f.count, int(f.type), f.type_count
        self.pinned, self.validated, self.linear = f.pinned, f.validated, f.linear_count

    def books(self) -> tuple[int, ...]:
        return self.count, self.type, self.tcount, self.pinned, self.validated, self.linear


class Model:
    def __init__(self, g: Any) -> None:
        self.dom, self.privileged = g.d.domid, g.privileged
        self.linear, self.assist = g.hv.options.pv_linear_pt, False
        self.pages = [Page(g.hv.frame_info(mfn)) for mfn in range(g.m.frames)]
        self.m2p = {mfn: g.hv.m2p(mfn) for mfn in range(g.m.frames)}
        self.mem = {mfn: array("Q", g.m.read(mfn << 12, 4096)) for mfn in (*g.d.mfns, g.d.shared_info)}
        self.root, self.user_root, self.user = g.d.kernel_root, 0, False
        self.strict = False
        self.slots = self.mem[self.root][256:272]

    # ---- references and types

    def get(self, mfn: int, owner: int) -> bool:
        if mfn >= len(self.pages) or self.pages[mfn].owner != owner or not self.pages[mfn].count:
            return False
        self.pages[mfn].count += 1
        return True

    def put(self, mfn: int) -> None:
        self.pages[mfn].count -= 1

    def get_type(self, mfn: int, want: int) -> int:
        p = self.pages[mfn]
        if p.tcount:
            if p.type != want or not p.validated:
                return EINVAL
        elif p.type != want:
            p.type, p.validated = want, False
        p.tcount += 1
        if p.validated:
            return 0
        if want <= 4:
            error, slot = self.validate(mfn, want)
            if error:
                p.tcount, p.type = 0, want if want > 1 and slot else 0
                return error
        p.validated = True
        return 0

    def put_type(self, mfn: int) -> None:
        p = self.pages[mfn]
        if p.tcount == 1 and p.type <= 4 and p.validated:
            p.validated = False
            self.drop(mfn, p.type, 512)
        p.tcount -= 1

    def guest_slot(self, level: int, slot: int) -> bool:
        return level < 4 or not 256 <= slot <= 271

    def drop(self, mfn: int, level: int, end: int) -> None:
        for slot, entry in enumerate(self.mem[mfn][:end]):
            if entry & P and self.guest_slot(level, slot):
                self.put_entry(mfn, level, entry)

    def validate(self, mfn: int, level: int) -> tuple[int, int]:
        words = self.mem[mfn]
        if level > 1:
            self.pages[mfn].linear = 0
        for slot in range(512):
            entry = words[slot]
            if not entry & P or not self.guest_slot(level, slot):
                continue
            error, flip = self.get_entry(mfn, level, entry, self.dom)
            if error:
                self.drop(mfn, level, slot)
                return error, slot
            words[slot] = adjust(level, entry ^ flip)
        if level == 4:
            words[256:272] = self.slots
            words[256] = self.slots[0] if self.strict else 0
            words[258] = mfn << 12 | NX | 0x63
        return 0, 0

    # ---- entries

    def get_entry(self, table: int, level: int, entry: int, owner: int) -> tuple[int, int]:
        return self.get_l1e(entry, owner) if level == 1 else (self.get_lne(table, level, entry), 0)

    def get_l1e(self, entry: int, owner: int) -> tuple[int, int]:
        mfn = mfn_of(entry)
        if entry & (PWT | PCD | PAT) and not self.privileged:
            return EINVAL, 0
        if mfn >= len(self.pages) or self.pages[mfn].owner == IO:
            allowed = self.privileged and mfn < 1 << 28 and not 0xFEE00 <= mfn <= 0xFEEFF and not 0xFD00000 <= mfn
            if not allowed or owner == XEN:
                return (EINVAL if mfn == MFN else EPERM), 0
            flip = entry & RW if mfn in (0xFEC00, 0xFED00) else 0
            if entry & (PWT | PCD | PAT) in (0, PWT, PWT | PAT):
                flip |= entry & (PWT | PCD | PAT) ^ (PWT | PCD)
            return 0, flip
        if not self.get(mfn, owner):
            return EBUSY, 0
        if entry & RW and self.get_type(mfn, WRITABLE):
            self.put(mfn)
            return EBUSY, 0
        if entry & (PWT | PCD | PAT) and self.pages[mfn].heap:
            self.put_entry(0, 1, entry)
            return EACCES, 0
        return 0, 0

    def get_lne(self, table: int, level: int, entry: int) -> int:
        mfn = mfn_of(entry)
        if entry & (PWT | PCD | PAT | G) or not self.get(mfn, self.dom):
            return EINVAL
        error = self.get_type(mfn, level - 1)
        if not error:
            return 0
        holder, target = self.pages[table], self.pages[mfn]
        if error == EINVAL and not entry & RW and self.linear:
            if mfn == table:
                self.put(mfn)
                return 0
            if holder.linear >= 0 >= target.linear and target.type == level and target.validated:
                holder.linear += 1
                target.linear -= 1
                target.tcount += 1
                return 0
        self.put(mfn)
        return error

    def put_entry(self, table: int, level: int, entry: int) -> None:
        mfn = mfn_of(entry)
        if not entry & P or mfn >= len(self.pages) or self.pages[mfn].owner == IO:
            return
        if level == 1:
            if entry & RW:
                self.put_type(mfn)
        elif mfn == table:
            return
        else:
            if self.pages[mfn].type == level:
                self.pages[mfn].linear += 1
                self.pages[table].linear -= 1
            self.put_type(mfn)
        self.put(mfn)

    def mod(self, table: int, level: int, slot: int, entry: int, owner: int, preserve: bool, fast: bool = True) -> int:
        if not self.guest_slot(level, slot):
            return EINVAL
        old = self.mem[table][slot]
        kept = old & (A | D) if preserve else 0
        if entry & P:
            if level > 1 and entry & (PWT | PCD | PAT | G):
                return EINVAL
            if entry & (PWT | PCD | PAT) and not self.privileged:
                return EINVAL
            entry = adjust(level, entry)
            if fast and not (old ^ entry) & ~FAST:
                self.mem[table][slot] = entry | kept
                return 0
            error, flip = self.get_entry(table, level, entry, owner)
            if error:
                return error
            entry ^= flip
        self.mem[table][slot] = entry | kept
        self.put_entry(table, level, old)
        return 0

    # ---- hypercalls

    def mmu_update(self, reqs: list[tuple[int, int]], fd: int) -> tuple[int, int]:
        if fd == self.dom or fd not in (SELF, IO, XEN):
            return ESRCH, 0
        for done, (ptr, val) in enumerate(reqs):
            error = self.update(ptr & 7, ptr >> 12, ptr >> 3 & 511, val, self.dom if fd == SELF else fd)
            if error:
                return error, done
        return 0, len(reqs)

    def update(self, cmd: int, mfn: int, slot: int, val: int, owner: int) -> int:
        if cmd > 3:
            return ENOSYS
        if owner == XEN and not self.privileged:
            return EPERM
        if not self.get(mfn, owner if cmd == 1 else self.dom):
            return EINVAL
        self.put(mfn)
        p = self.pages[mfn]
        if cmd == 1:
            self.m2p[mfn] = val
        elif not p.tcount or not p.validated:
            if self.get_type(mfn, WRITABLE):
                return EINVAL
            self.mem[mfn][slot] = val
            self.put_type(mfn)
        elif p.type == WRITABLE:
            self.mem[mfn][slot] = val
        elif p.type == 1 or owner == self.dom:
            return self.mod(mfn, p.type, slot, val, owner, cmd == 2)
        else:
            return EINVAL
        return 0

    def l1_of(self, va: int, level: int) -> int | None:
        """The entry of this level for va in the kernel root; A is set in those above it."""
        table = self.root
        for at in (4, 3, 2, 1):
            slot = va >> (3 + 9 * at) & 511
            entry = self.mem[table][slot]
            if at == level:
                return entry
            if not entry & P:
                return None
            self.mem[table][slot] |= A
            table = mfn_of(entry)
        raise AssertionError

    def is_l1(self, mfn: int) -> bool:
        p = self.pages[mfn] if mfn < len(self.pages) else None
        return p is not None and p.owner == self.dom and p.type == 1 and p.tcount > 0 and p.validated

    def update_va_mapping(self, va: int, val: int) -> int:
        l2e = self.l1_of(va, 2)
        if l2e is None or not l2e & P or not self.is_l1(mfn_of(l2e)):
            return EINVAL
        return self.mod(mfn_of(l2e), 1, va >> 12 & 511, val, self.dom, False)

    def mmuext(self, cmd: int, mfn: int, src: int, fd: int) -> int:
        if fd == self.dom or fd not in (SELF, IO, XEN):
            return ESRCH
        if fd != SELF and not self.privileged:
            return EPERM
        owner = self.dom if fd == SELF else fd
        if cmd in (xen.MMUEXT_NEW_BASEPTR, xen.MMUEXT_NEW_USER_BASEPTR):
            return self.new_root(cmd == xen.MMUEXT_NEW_USER_BASEPTR, mfn) if fd == SELF else EPERM
        if fd == IO or (cmd == xen.MMUEXT_COPY_PAGE and not (src < len(self.pages) and self.pages[src].owner == owner)):
            return EINVAL
        if not self.get(mfn, owner):
            return EINVAL
        p = self.pages[mfn]
        error = 0
        if cmd < xen.MMUEXT_UNPIN_TABLE:
            error = self.get_type(mfn, cmd + 1)
            if not error and p.pinned:
                self.put_type(mfn)
                error = EINVAL
            if not error:
                p.pinned = True
                return 0
        elif cmd == xen.MMUEXT_UNPIN_TABLE:
            if p.pinned:
                p.pinned = False
                self.put_type(mfn)
                self.put(mfn)
            else:
                error = EINVAL
        elif self.get_type(mfn, WRITABLE):
            error = EINVAL
        else:
            self.mem[mfn][:] = self.mem[src] if cmd == xen.MMUEXT_COPY_PAGE else array("Q", bytes(4096))
            self.put_type(mfn)
        self.put(mfn)
        return error

    def new_root(self, user: bool, mfn: int) -> int:
        old = self.user_root if user else self.root
        if mfn == old:
            return 0
        if mfn or not user:
            if not self.get(mfn, self.dom):
                return EINVAL
            error = self.get_type(mfn, 4)
            if error:
                self.put(mfn)
                return error
            words = self.mem[mfn]
            if user and self.strict:
                words[256] = 0
            elif not user and not self.strict and not words[256]:
                words[256] = self.slots[0]
        if user:
            self.user_root = mfn
        else:
            self.root = mfn
        if old:
            self.put_type(old)
            self.put(old)
        return 0

    # ---- accesses

    def walk(self, va: int) -> tuple[list[tuple[int, int]], bool, int]:
        """Entries used as (table, slot); whether all are present; the entry that ended it."""
        table, path = self.user_root if self.user else self.root, []
        for level in (4, 3, 2, 1):
            slot = va >> (3 + 9 * level) & 511
            path.append((table, slot))
            entry = self.mem[table][slot]
            if not entry & P:
                return path, False, entry
            table = mfn_of(entry)
        return path, True, entry

    def known(self, va: int) -> bool:
        """Whether the access ends in memory that the model has."""
        _, present, entry = self.walk(va)
        return not present or mfn_of(entry) in self.mem

    def access(self, va: int, size: int, value: int | None) -> int | tuple[str, int]:
        path, present, leaf = self.walk(va)
        write = value is not None
        code = 2 * write | 4 * self.user
        if not present:
            return "fault", code
        if write and not all(self.mem[t][s] & RW for t, s in path):
            if not self.user and self.ptwr(va, size, value or 0):
                return 0
            return "fault", code | 1
        for i, (t, s) in enumerate(path):
            self.mem[t][s] |= A | (D if write and i == 3 else 0)
        words, shift = self.mem[mfn_of(leaf)], 8 * (va & 7)
        mask = (1 << 8 * size) - 1 << shift
        if value is None:
            return (words[va >> 3 & 511] & mask) >> shift
        words[va >> 3 & 511] = words[va >> 3 & 511] & ~mask | value << shift
        return 0

    def ptwr(self, va: int, size: int, value: int) -> bool:
        if not (self.privileged or self.assist):
            return False
        l1e = self.l1_of(va, 1)
        if l1e is None or l1e & (P | RW) != P or not self.is_l1(mfn_of(l1e)):
            return False
        if size < 8:
            # Xen reads the rest of the word by the guest's mapping.
            holder, at = self.walk(va)[0][3]
            self.mem[holder][at] |= A
        table, slot, shift = mfn_of(l1e), va >> 3 & 511, 8 * (va & 7)
        merged = self.mem[table][slot] & ~((1 << 8 * size) - 1 << shift) | value << shift
        return not self.mod(table, 1, slot, merged, self.dom, False, fast=False)


# ---- books from bytes


def recount(g: Any) -> None:
    """Every count that the books hold, added up from the entries of the validated tables, the pins and the roots."""
    info = {mfn: g.hv.frame_info(mfn) for mfn in (*g.d.mfns, g.d.shared_info)}
    refs: Counter[int] = Counter()
    types: Counter[tuple[int, int]] = Counter()
    linear: Counter[int] = Counter()
    for root in (g.d.kernel_root, g.d.user_root):
        if root:
            refs[root] += 1
            types[root, 4] += 1
    for mfn, f in info.items():
        refs[mfn] += f.allocated
        if f.pinned:
            refs[mfn] += 1
            types[mfn, f.type] += 1
        if not (1 <= f.type <= 4 and f.validated):
            continue
        for slot, entry in enumerate(memoryview(g.m.read(mfn << 12, 4096)).cast("Q")):
            target = mfn_of(entry)
            if not entry & P or target not in info or (f.type == 4 and 256 <= slot <= 271):
                continue
            if f.type == 1:
                refs[target] += 1
                types[target, WRITABLE] += bool(entry & RW)
            elif info[target].type == f.type:
                if target != mfn:
                    refs[target] += 1
                    types[target, f.type] += 1
                    linear[mfn] += 1
                    linear[target] -= 1
            else:
                refs[target] += 1
                types[target, f.type - 1] += 1
    for mfn, f in info.items():
        assert f.count == refs[mfn], (hex(mfn), f)
        held = {t: n for (m, t), n in types.items() if m == mfn and n}
        if f.xen_heap:
            held[WRITABLE] = held.get(WRITABLE, 0) + 1
        assert held == ({f.type: f.type_count} if f.type_count else {}), (hex(mfn), f)
        if f.type in (2, 3, 4) and f.validated:
            assert f.linear_count == linear[mfn], (hex(mfn), f)
        assert not f.partial
        assert f.validated or not f.type_count


# ---- the walk at random

# Slots that the tables here have entries in.
SEEN = (*range(26), 255, 272, 300, 301, 510, 511)
SLOTS = (0, 0, 1, 1, 2, 3, 7, 255, 256, 258, 271, 272, 301, 511)
STRANGE = (0, 0xB8, 0xFEC00, 0xFEE00, 0xFD00000, MFN, MFN - 1, 1 << 27)


class Player:
    def __init__(self, g: Any, seed: int) -> None:
        self.g, self.rng, self.model = g, random.Random(seed), Model(g)
        self.tables = [*g.pool, *g.pool, g.root, g.window, g.window_l2, g.window_l3]
        free = next(mfn for mfn in range(g.m.frames) if g.hv.frame_info(mfn).owner == xen.OWNER_NONE)
        m2p = next(mfn for mfn in range(g.m.frames) if g.hv.frame_info(mfn).owner == XEN)
        self.strange = (*STRANGE, free, m2p, g.m.frames - 1, g.m.frames)
        self.kinds: Counter[str] = Counter()

    def frame(self) -> int:
        r = self.rng.random()
        if r < 0.8:
            return self.rng.choice(self.g.pool)
        if r < 0.9:
            return self.rng.choice(self.tables)
        return self.rng.choice((self.g.d.mfns[0], self.g.d.shared_info)) if r < 0.95 else self.rng.choice(self.strange)

    def level(self, table: int) -> int:
        p = self.model.pages[min(table, len(self.model.pages) - 1)]
        return p.type if p.tcount and 1 <= p.type <= 4 else self.rng.randrange(1, 5)

    def target(self, table: int) -> int:
        """Often a frame that may stand in an entry of this table."""
        level = self.level(table)
        r = self.rng.random()
        if r < 0.08:
            return table
        if level > 1 and r < 0.7:
            wanted = level if r < 0.18 else level - 1
            fit = [m for m in self.g.pool if self.model.pages[m].type == wanted or not self.model.pages[m].tcount]
            if fit:
                return self.rng.choice(fit)
        return self.frame()

    def entry(self, table: int) -> int:
        rng = self.rng
        entry = (
            self.target(table) << 12 | (P if rng.random() < 0.85 else 0) | rng.choice((0, 0, RW)) | rng.choice((0, US))
        )
        if rng.random() < 0.3:
            entry |= rng.choice((A, D, A | D, K, NX, 0x200, 1 << 62))
        if rng.random() < 0.05:
            entry |= rng.choice((PWT, PCD, PAT, G))
        return 0 if rng.random() < 0.15 else entry

    def request(self) -> tuple[int, int]:
        rng = self.rng
        table = rng.choice(self.tables) if rng.random() < 0.95 else rng.choice(self.strange)
        cmd = rng.choice((0, 0, 0, 0, 2, 2, 3, 1, 5)) if rng.random() < 0.3 else 0
        slot = rng.choice(SLOTS)
        known = self.model.mem.get(table)
        if known is not None and rng.random() < 0.2:  # change the entry that is there
            return table << 12 | slot << 3 | cmd, known[slot] ^ rng.choice((RW, RW, A, D, NX, US, P, 1 << 12))
        return table << 12 | slot << 3 | cmd, self.entry(table)

    def va(self) -> int:
        """Mostly an address that is mapped, in the tables of the current root."""
        rng, model = self.rng, self.model
        table: int | None = model.user_root if model.user else model.root
        va = 0
        for level in (4, 3, 2, 1):
            words = model.mem.get(table) if table is not None else None
            present = [i for i in SEEN if words[i] & P and model.guest_slot(level, i)] if words else []
            slot = rng.choice(present) if present and rng.random() < 0.9 else rng.choice((0, 1, 2, 300, 301))
            va |= slot << (3 + 9 * level)
            table = mfn_of(words[slot]) if words and words[slot] & P else None
        return va | SIGN if va >> 47 else va

    def do(self, call: Callable[[], Any]) -> Any:
        """The outcome of a call; now and then it is tried first, and a trial leaves nothing."""

        def outcome() -> Any:
            try:
                return call()
            except PageFault as f:
                return "fault", f.va, f.error_code

        if self.rng.random() > 0.04:
            return outcome()
        before = self.g.everything()
        with self.g.m.trial():
            tried = outcome()
        assert self.g.everything() == before
        done = outcome()
        assert done == tried
        return done

    def same(self, kind: str, r: xen.Result, error: int, done: int | None = None) -> None:
        assert r.rc == -error, (kind, r, error)
        assert r.reason.errno == error
        if done is not None:
            assert r.done == done
        self.kinds[f"{kind} {'ok' if not error else r.reason.name}"] += 1

    def step(self) -> None:
        g, rng, model = self.g, self.rng, self.model
        r = rng.random()
        fd = SELF if rng.random() < 0.96 else rng.choice((IO, XEN, g.d.domid, 55))
        if model.user:
            if r < 0.5:
                self.touch()
            else:
                g.d.enter_kernel()
                model.user = False
        elif r < 0.45:
            reqs = [self.request() for _ in range(rng.choice((1, 1, 2, 4)))]
            error, done = model.mmu_update(reqs, fd)
            self.same("mmu_update", self.do(lambda: g.d.mmu_update(reqs, fd)), error, done)
        elif r < 0.52:
            va, val = self.va(), self.entry(g.window)
            error = model.update_va_mapping(va, val)
            self.same("update_va_mapping", self.do(lambda: g.d.update_va_mapping(va, val)), error)
        elif r < 0.64:
            self.ext(rng.randrange(4), fd)
        elif r < 0.71:
            self.ext(xen.MMUEXT_UNPIN_TABLE, fd)
        elif r < 0.75:
            self.ext(rng.choice((xen.MMUEXT_CLEAR_PAGE, xen.MMUEXT_CLEAR_PAGE, xen.MMUEXT_COPY_PAGE)), fd)
        elif r < 0.79:
            self.ext(rng.choice((xen.MMUEXT_NEW_BASEPTR, xen.MMUEXT_NEW_USER_BASEPTR)), fd)
        elif r < 0.80:
            model.strict, model.assist = rng.random() < 0.5, rng.random() < 0.5
            self.same("vm_assist", g.d.vm_assist(not model.strict, xen.VMASST_M2P_STRICT), 0)
            self.same("vm_assist", g.d.vm_assist(not model.assist, xen.VMASST_WRITABLE_PAGETABLES), 0)
        elif r < 0.82 and model.user_root:
            self.do(g.d.enter_user)
            model.user = True
        else:
            self.touch()

    def ext(self, cmd: int, fd: int) -> None:
        mfn, src = self.frame(), self.frame()
        if cmd in (xen.MMUEXT_NEW_BASEPTR, xen.MMUEXT_NEW_USER_BASEPTR) and self.rng.random() < 0.6:
            mfn = self.rng.choice((self.g.root, 0))
        if cmd == xen.MMUEXT_COPY_PAGE and src not in self.model.mem:
            return
        error = self.model.mmuext(cmd, mfn, src, fd)
        r = self.do(lambda: self.g.ext(cmd, mfn, src, fd))
        self.same(f"mmuext {cmd}", r, error, None if fd not in (SELF, IO, XEN) else int(not error))

    def touch(self) -> None:
        size = self.rng.choice((8, 8, 8, 4, 2, 1))
        va = self.va() | self.rng.choice((0, 8, 16, 24)) | self.rng.choice(range(0, 8, size))
        if not self.model.known(va):
            return
        value = None if self.rng.random() < 0.4 else self.entry(self.g.window) & (1 << 8 * size) - 1
        expected = self.model.access(va, size, value)
        d = self.g.d
        answer = self.do(lambda: d.load(va, size) if value is None else d.store(va, value, size))
        wanted = ("fault", va, expected[1]) if isinstance(expected, tuple) else expected if value is None else None
        assert answer == wanted, (hex(va), size, value)
        self.kinds[f"{'load' if value is None else 'store'} {expected if isinstance(expected, tuple) else 'ok'}"] += 1

    def compare(self) -> None:
        g, model = self.g, self.model
        assert (g.d.kernel_root, g.d.user_root, g.d.user_mode) == (model.root, model.user_root, model.user)
        for mfn, words in model.mem.items():
            assert g.m.read(mfn << 12, 4096) == words.tobytes(), hex(mfn)
        for mfn in model.mem:
            f = g.hv.frame_info(mfn)
            assert (f.count, f.type, f.type_count, f.pinned, f.validated) == model.pages[mfn].books()[:5], hex(mfn)
            if f.type in (2, 3, 4) and f.validated:
                assert f.linear_count == model.pages[mfn].linear
            assert g.hv.m2p(mfn) == model.m2p[mfn]


def play(g: Any, seed: int, steps: int) -> Player:
    print("seed", seed)
    player = Player(g, seed)
    player.compare()
    for i in range(steps):
        player.step()
        if i % 50 == 0:
            player.compare()
            recount(g)
    player.compare()
    recount(g)
    return player


@pytest.mark.parametrize("seed", range(12))
def test_random_calls_agree_with_a_second_model(guest: Any, seed: int) -> None:
    play(guest(frames=40, size=16 << 20), seed, 1500)


@pytest.mark.parametrize("seed", range(50, 54))
@pytest.mark.parametrize("options", [{"privileged": False}, {"pv_linear_pt": False}], ids=str)
def test_other_configurations_too(guest: Any, options: dict[str, bool], seed: int) -> None:
    play(guest(frames=40, size=16 << 20, **options), seed, 1000)


@pytest.mark.slow
def test_the_walk_reaches_the_rules(guest: Any) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(100, 104):
        kinds += play(guest(frames=40, size=16 << 20), seed, 1500).kinds
    refusals = {kind.split()[-1] for kind in kinds if kind.startswith(("mmu", "update"))}
    assert refusals >= {
        *("ok", "FOREIGNDOM_OWN_ID", "FOREIGNDOM_UNKNOWN", "UNKNOWN_COMMAND", "PTR_NOT_OWNED", "PT_UPDATE_FOREIGNDOM"),
        *("L4_SLOT_RESERVED", "MACHPHYS_NOT_OWNED", "L2_FLAGS", "L3_FLAGS", "L4_FLAGS", "MMIO_NOT_PERMITTED"),
        *("L1_NOT_OWNED", "L1_RW_TYPE_CONFLICT", "TABLE_NOT_OWNED", "TYPE_CONFLICT", "LINEAR_WRITABLE"),
        *("LINEAR_HOLDER_IS_USED", "LINEAR_TARGET_HOLDS", "VA_NO_TABLE", "VA_L1_NOT_VALIDATED", "MMUEXT_FOREIGN"),
        *("MMUEXT_NOT_OWNED", "ALREADY_PINNED", "NOT_PINNED", "NOT_WRITABLE"),
    }, kinds
    for fault in (2, 3, 4, 6, 7):
        assert kinds[f"store ('fault', {fault})"] + kinds[f"load ('fault', {fault})"], kinds
    assert kinds["store ok"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("mutant", xen.Options.known_mutants())
def test_every_mutant_is_noticed(guest: Any, mutant: str) -> None:
    for seed in range(200, 240):
        try:
            play(guest(frames=40, size=16 << 20, mutants=(mutant,)), seed, 600)
        except AssertionError:
            return
    pytest.fail(f"{mutant} makes no difference")

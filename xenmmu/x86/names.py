"""Names of the processor's registers, bits, accesses and faults, as the manuals write them; no processor.

Sources: SDM vol. 3A, 2.5 (control registers) and 4.7 (error codes).
"""

from __future__ import annotations

from xenmmu._core import ffi, lib
from xenmmu.errors import BadArgument

__all__ = [
    "CR0_PE",
    "CR0_PG",
    "CR0_WP",
    "CR4_CET",
    "CR4_LA57",
    "CR4_PAE",
    "CR4_PCIDE",
    "CR4_PGE",
    "CR4_PKE",
    "CR4_PKS",
    "CR4_SMAP",
    "CR4_SMEP",
    "EFER_LMA",
    "EFER_LME",
    "EFER_NXE",
    "EFER_TCE",
    "PF_I",
    "PF_P",
    "PF_PK",
    "PF_RSVD",
    "PF_SS",
    "PF_U",
    "PF_W",
]

CR0_PE: int = lib.XM_CR0_PE
CR0_WP: int = lib.XM_CR0_WP
CR0_PG: int = lib.XM_CR0_PG
CR4_PAE: int = lib.XM_CR4_PAE
CR4_PGE: int = lib.XM_CR4_PGE
CR4_LA57: int = lib.XM_CR4_LA57
CR4_PCIDE: int = lib.XM_CR4_PCIDE
CR4_SMEP: int = lib.XM_CR4_SMEP
CR4_SMAP: int = lib.XM_CR4_SMAP
CR4_PKE: int = lib.XM_CR4_PKE
CR4_CET: int = lib.XM_CR4_CET
CR4_PKS: int = lib.XM_CR4_PKS
EFER_LME: int = lib.XM_EFER_LME
EFER_LMA: int = lib.XM_EFER_LMA
EFER_NXE: int = lib.XM_EFER_NXE
EFER_TCE: int = lib.XM_EFER_TCE

PF_P: int = lib.XM_PF_P
PF_W: int = lib.XM_PF_W
PF_U: int = lib.XM_PF_U
PF_RSVD: int = lib.XM_PF_RSVD
PF_I: int = lib.XM_PF_I
PF_PK: int = lib.XM_PF_PK
PF_SS: int = lib.XM_PF_SS

CODE_BITS = {PF_P: "P", PF_W: "W/R", PF_U: "U/S", PF_RSVD: "RSVD", PF_I: "I/D", PF_PK: "PK", PF_SS: "SS"}
LEVEL_NAMES = {1: "PTE", 2: "PDE", 3: "PDPTE", 4: "PML4E", 5: "PML5E"}
KINDS = {
    "read": lib.XM_ACC_READ,
    "write": lib.XM_ACC_WRITE,
    "execute": lib.XM_ACC_EXECUTE,
    "shadow_read": lib.XM_ACC_SHADOW_STACK,
    "shadow_write": lib.XM_ACC_SHADOW_STACK | lib.XM_ACC_WRITE,
}
# What an access by each is to the C core.
BY_SUPERVISOR: dict[str, int] = KINDS
BY_USER: dict[str, int] = {name: kind | lib.XM_ACC_USER for name, kind in KINDS.items()}
IMPLICIT: dict[str, int] = {name: kind | lib.XM_ACC_IMPLICIT for name, kind in KINDS.items()}
FAULTS: dict[int, str | None] = {
    lib.XM_FAULT_NONE: None,
    lib.XM_FAULT_PF: "#PF",
    lib.XM_FAULT_GP: "#GP",
    lib.XM_FAULT_SS: "#SS",
    lib.XM_FAULT_UD: "#UD",
}
STOPS: tuple[str, ...] = tuple(ffi.string(lib.xm_stop_text(stop)).decode() for stop in range(lib.XM_STOP_NO_CET + 1))
VENDORS = {"intel": lib.XM_VENDOR_INTEL, "amd": lib.XM_VENDOR_AMD}
INVPCID: dict[str, int] = {
    "address": lib.XM_INVPCID_ADDRESS,
    "single": lib.XM_INVPCID_SINGLE,
    "all": lib.XM_INVPCID_ALL,
    "all_but_global": lib.XM_INVPCID_ALL_BUT_GLOBAL,
}
A_ON_FAULT = ("none", "upper")
VENDOR_NAMES = {number: name for name, number in VENDORS.items()}


def bad_access(access: object) -> BadArgument:
    return BadArgument(f"access {access!r} is none of {', '.join(KINDS)}")


def bad_address(va: object) -> BadArgument:
    return BadArgument(f"{va!r} is not a 64-bit linear address")

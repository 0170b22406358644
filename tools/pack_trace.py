"""Repack a trace: the same .npz arrays, byte for byte, with LZMA members (numpy reads them too) and no time stamps.

    python tools/pack_trace.py make-libmd.npz xenmmu/data/make-libmd.npz

numpy writes stored or deflated members; LZMA takes the recorded `make` from 2.49 MB to 1.50 MB.  Standard library only.
"""

from __future__ import annotations

import sys
import zipfile


def repack(source: str, target: str) -> None:
    """Copy every member of the archive `source` to `target`, LZMA-compressed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as new:
        for info in old.infolist():
            entry = zipfile.ZipInfo(info.filename)
            entry.compress_type = zipfile.ZIP_LZMA
            entry.external_attr = 0o644 << 16
            new.writestr(entry, old.read(info))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: pack_trace.py SOURCE.npz TARGET.npz")
    repack(sys.argv[1], sys.argv[2])

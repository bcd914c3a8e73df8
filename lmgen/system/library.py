"""The compiled library of native/, loaded through ctypes. It is optional: everything in it is also written in Python."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

SYSTEMS = (("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"))  # for which the library is built


class Library(NamedTuple):
    """The compiled library, or the reason why there is none; `expected` where one is built and not turned off."""

    functions: Any = None
    lack: str = ""
    expected: bool = True


def path() -> Path:
    """The file of the library: that of LMGEN_LIBRARY, or else the one in the package."""
    return Path(os.environ.get("LMGEN_LIBRARY") or Path(__file__).parents[1] / "_native.so")


@cache
def library() -> Library:
    """Load the library once, as LMGEN_NATIVE and LMGEN_LIBRARY say."""
    if os.environ.get("LMGEN_NATIVE") == "off":
        return Library(lack="turned off by LMGEN_NATIVE=off", expected=False)
    file = path()
    if not file.exists():
        system = platform.system(), platform.machine()
        if system not in SYSTEMS:
            return Library(lack=f"there are none for {' on '.join(system)}", expected=False)
        why = "a wheel without kernels was installed, or the install found no C++ compiler, or its build failed"
        return Library(lack=f"not built ({file.name} is missing): {why}")
    try:
        if not _complete(file.read_bytes()):  # the loader would crash
            return Library(lack=f"{file.name} is damaged: install lmgen again")
        return Library(ctypes.CDLL(str(file.absolute())))
    except Exception as error:  # built for another machine
        return Library(lack=f"{file.name} cannot be loaded ({str(error).partition(chr(10))[0]})")


def _complete(file: bytes) -> bool:
    """Whether a 64-bit ELF file is complete: its section header table comes last. Other files are not known."""
    if not file.startswith(b"\x7fELF"):
        return True
    table, size, count = struct.unpack_from("<40xQ10xHH", file.ljust(64))
    return table + size * count <= len(file)

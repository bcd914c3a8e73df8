"""JAX's settings and its device, the cache of compiled programs, and the processor."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lmgen.errors import InputError
from lmgen.system import cache, memory

COMPILED = f"jaxlib-{jax.lib.__version__}-{platform.machine()}"  # the folder in the cache; programs serve one version alone


def random_key(seed: int) -> Array:
    """The random key of a seed from 0 to 2^63 − 1; seeds below 2^32 give the same key as in JAX."""
    low, high = seed & 0xFFFFFFFF, seed >> 32
    return jax.random.fold_in(jax.random.key(low), high) if high else jax.random.key(low)


def compiled_programs() -> Path:
    """The lasting folder of compiled programs. Raises OSError if there is none."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    base = None if chosen else cache.lasting("compiled")
    if "://" in chosen or not (chosen or base):
        raise FileNotFoundError("no folder keeps the compiled programs")
    folder = base / COMPILED if base else Path(chosen)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cpu_flags() -> frozenset[str]:
    """The instruction sets of the processor; none unless Linux lists them."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features")).split())  # of x86-64, of ARM


def processor() -> str:
    """The name of the processor; of ARM the numbers of its maker and its cores."""
    of_arm = filter(None, map(_cpuinfo, ("CPU implementer", "CPU part")))
    return _cpuinfo("model name") or " ".join(of_arm) or platform.processor()


def _cpuinfo(field: str) -> str:
    """A field of /proc/cpuinfo; empty if there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith(field):
                return line.partition(":")[2].strip()
    return ""


def prepare(cpu: bool = False) -> None:
    """Settings for a process of the command line: compiled programs are kept on disk, freed memory for the next step; with `cpu`
    no other device computes.

    Environment variables of JAX take precedence, except JAX_ENABLE_X64: lmgen computes in 32 bits.
    """
    compiled = str(cache.folder("compiled") / COMPILED)
    settings = {
        "jax_compilation_cache_dir": compiled,
        "jax_persistent_cache_min_compile_time_secs": 0.2,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        if not os.environ.get(name.upper()):
            jax.config.update(name, value)
    jax.config.update("jax_enable_x64", False)
    if cpu:
        jax.config.update("jax_platforms", "cpu")
    _mend_cache(Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or compiled))
    memory.keep_freed()


def check() -> None:
    """Raise InputError if JAX has no device or computes in 64 bits."""
    try:
        jax.default_backend()
    except (RuntimeError, AssertionError):  # depends on the version of JAX
        asked = f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')!r:.40}"
        raise InputError(f"JAX finds no device here for {asked}: unset it, set it to cpu, or install what JAX needs") from None
    if jnp.result_type(float) == jnp.float64:
        raise InputError(
            "JAX is set to 64 bits (jax_enable_x64) and lmgen computes in 32: unset JAX_ENABLE_X64, or call "
            'jax.config.update("jax_enable_x64", False) first'
        )


def _mend_cache(folder: Path) -> None:
    """Remove damaged entries of the cache of compiled programs, which JAX only warns of, so that it writes them anew. Warnings
    that an entry cannot be written are dropped."""
    show = warnings.showwarning

    def mend(message: Warning | str, *rest: Any, **others: Any) -> None:
        found = re.match(r"Error (reading|writing) persistent compilation cache entry for '([\w.<>-]+)'", str(message))
        if not found:
            show(message, *rest, **others)
            return
        with contextlib.suppress(OSError):
            for entry in folder.glob(f"{found[2]}-*"):
                entry.unlink()

    warnings.showwarning = mend


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, perhaps of JAX, means that there is not enough memory."""
    return isinstance(error, MemoryError) or any(w in str(error) for w in ("RESOURCE_EXHAUSTED", "ut of memory", "bad_alloc"))


def asked_for(error: BaseException) -> int:
    """The bytes that a failed allocation of JAX or NumPy requested, from its message; 0 if unknown."""
    match = re.search(r"([\d.]+) ?(bytes|[KMGT]i?B)", str(error))
    return round(float(match[1]) * 1024 ** max(0, " KMGT".find(match[2][0]))) if match else 0


def describe() -> str:
    """The machine in a few words. Raises InputError if JAX finds no device."""
    check()
    return f"{os.cpu_count()} cores, {jax.default_backend()}"

"""What the machine is: its precision, its memory settings, its cache of compiled programs."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import Array

from lmgen import cache


def product(a: Array, b: Array, precision: str) -> Array:
    """The matrix product a b over the last axis of a and the first of b, summed and returned in a's type.

    With "bf16" the operands are rounded to bfloat16 and the sum is kept in float32.
    """
    contract = (((a.ndim - 1,), (0,)), ((), ()))
    if precision == "bf16":
        return jax.lax.dot_general(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), contract, preferred_element_type=jnp.float32)
    return jax.lax.dot_general(a, b, contract)


def precision_of(choice: str) -> str:
    """What "auto" means here: bf16 where the processor multiplies it in hardware, else f32."""
    if choice != "auto":
        return choice
    return "bf16" if jax.default_backend() != "cpu" or "amx_bf16" in cpu_flags() else "f32"


def cpu_flags() -> frozenset[str]:
    """The instruction sets that Linux reports; none elsewhere."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return frozenset(line.split(":", 1)[1].split())
    except OSError:
        pass
    return frozenset()


def prepare() -> None:
    """Settings for a process of ours: compiled programs are kept on disk, freed memory is kept for the next step.

    Called by the command line and never by importing the library.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = cache.folder("compiled") / f"jaxlib-{jax.lib.__version__}-{platform.machine()}"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Tell glibc not to give large blocks back at every step, which would fault them in again (mallopt(3))."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return  # not glibc
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    mallopt(mmap_threshold, 32 << 20)  # the most that glibc takes
    mallopt(trim_threshold, (1 << 31) - 1)
    mallopt(top_pad, 64 << 20)


def describe() -> str:
    """The machine in a few words."""
    return f"{os.cpu_count()} cores, {jax.default_backend()}"

"""What the machine is: its precision, its memory settings, its cache of compiled programs."""

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

from lmgen import cache, memory, native


def product(a: Array, b: Array, precision: str) -> Array:
    """The matrix product a b over the last axis of a and the first of b, summed and returned in a's type.

    With "bf16" the operands are rounded to bfloat16 and the sum is kept in float32.
    """
    contract = (((a.ndim - 1,), (0,)), ((), ()))
    if precision == "bf16":
        return jax.lax.dot_general(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), contract, preferred_element_type=jnp.float32)
    return jax.lax.dot_general(a, b, contract)


def precision_of(choice: str, cell: str = "lstm") -> str:
    """What "auto" means here for a cell: bf16 where device, kernel or the processor's matrix unit make it faster, else f32."""
    if choice != "auto":
        return choice
    faster = jax.default_backend() != "cpu" or "amx_bf16" in cpu_flags() or (cell in native.CELLS and native.kind("bf16"))
    return "bf16" if faster else "f32"


def kernels() -> str:
    """Which compiled kernels run here, or why none do."""
    found = [f"{precision} with {native.kind(precision)}" for precision in ("f32", "bf16") if native.kind(precision)]
    if found:
        return f"{', '.join(found)}; {native.threads()} threads"
    return f"none, so training is slower: {native.library().lack or 'there are none for this processor'}"


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
    if not (named := os.environ.get("JAX_COMPILATION_CACHE_DIR")):
        named = str(cache.folder("compiled") / f"jaxlib-{jax.lib.__version__}-{platform.machine()}")
        jax.config.update("jax_compilation_cache_dir", named)
    _mend_cache(Path(named))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    memory.keep_freed()


def _mend_cache(folder: Path) -> None:
    """Let damaged entries of the cache of compiled programs be removed: JAX alone would warn of them every time. It then compiles
    and writes them anew. Where it cannot write them, it goes on without a word."""
    show = warnings.showwarning

    def mend(message: Warning | str, category: type[Warning], *rest: Any, **others: Any) -> None:
        found = re.match(r"Error (reading|writing) persistent compilation cache entry for '([\w.<>-]+)'", str(message))
        if not found:
            show(message, category, *rest, **others)
        else:
            with contextlib.suppress(OSError):
                for entry in folder.glob(f"{found[2]}-*"):
                    entry.unlink()

    warnings.showwarning = mend


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of JAX says that the memory did not suffice."""
    return "RESOURCE_EXHAUSTED" in str(error) or "ut of memory" in str(error) or "bad_alloc" in str(error)


def asked_for(error: BaseException) -> int:
    """The bytes that an error of JAX or NumPy says were asked for; 0 where it does not say."""
    match = re.search(r"([\d.]+) ?(bytes|[KMGT]i?B)", str(error))
    if not match:
        return 0
    return round(float(match[1]) * 1024 ** " KMGT".index(match[2][0]) if match[2] != "bytes" else float(match[1]))


def describe() -> str:
    """The machine in a few words."""
    return f"{os.cpu_count()} cores, {jax.default_backend()}"

"""What the machine is: its precision, its memory settings, its cache of compiled programs."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lmgen import cache, memory, native, speeds
from lmgen.errors import InputError

Axes = tuple[int, ...]


def product(a: Array, b: Array, precision: str, transposed: bool = False) -> Array:
    """The matrix product a b of a [..., N] and b [N, M], or with `transposed` a bᵀ of b [M, N], summed and returned in a's type.

    With "bf16" the operands are rounded to bfloat16, those of the gradient's products, too, and sums are kept in float32.
    """
    return _rounded(a, b, transposed) if precision == "bf16" else _contracted(a, b, *_axes(a, transposed))


def weight_gradient(a: Array, g: Array, precision: str) -> Array:
    """aᵀ g [N, M] of a [..., N] and g [..., M], summed over all their rows, at a precision of `product`."""
    a, g = a.reshape(-1, a.shape[-1]), g.reshape(-1, g.shape[-1])
    if precision != "bf16":
        return _contracted(a, g, (0,), (0,))
    # The rows in two axes, if they can be cut: one axis would be transposed within XLA's product for CPUs, which then is slow.
    parts = next((k for k in (2, 3, 5, 7, 11) if len(a) % k == 0), 1) if jax.default_backend() == "cpu" else 1
    a, g = (x.reshape(parts, -1, x.shape[-1]) for x in (a, g))
    return _narrow(a, g, (0, 1), (0, 1))


def _axes(a: Array, transposed: bool) -> tuple[Axes, Axes]:
    return (a.ndim - 1,), (1 if transposed else 0,)


def _contracted(a: Array, b: Array, axes_a: Axes, axes_b: Axes, out: Any = None) -> Array:
    return jax.lax.dot_general(a, b, ((axes_a, axes_b), ((), ())), preferred_element_type=out)


def _narrow(a: Array, b: Array, axes_a: Axes, axes_b: Axes) -> Array:
    out = _contracted(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), axes_a, axes_b, jnp.float32)
    # For CPUs XLA would make of the transpose of such a product another product, which it then cannot compute.
    return jax.lax.optimization_barrier(out) if jax.default_backend() == "cpu" else out


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rounded(a: Array, b: Array, transposed: bool) -> Array:
    return _narrow(a, b, *_axes(a, transposed))


def _rounded_backward(transposed: bool, kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    a, b = kept  # automatic differentiation would multiply them by a g that is not rounded
    return _rounded(g, b, not transposed), weight_gradient(*((g, a) if transposed else (a, g)), "bf16")


_rounded.defvjp(lambda a, b, transposed: (_rounded(a, b, transposed), (a, b)), _rounded_backward)


def random_key(seed: int) -> Array:
    """The random key of a seed from 0 to 2^63 − 1: that of its low word, and, where there is more of it, of both words."""
    low, high = seed & 0xFFFFFFFF, seed >> 32
    return jax.random.fold_in(jax.random.key(low), high) if high else jax.random.key(low)


def precision_of(choice: str, cell: str = "lstm") -> str:
    """What "auto" means here for a cell: bf16 where device, kernels or processor are faster with it, else f32."""
    if choice != "auto":
        return choice
    if jax.default_backend() != "cpu":
        faster = True
    elif cell in native.CELLS and native.kind("f32"):
        found = measured()
        faster = found.choice == "bf16" if found else bool(native.kind("bf16"))
    else:
        faster = not cpu_flags().isdisjoint({"amx_bf16", "avx512_bf16"})
    return "bf16" if faster else "f32"


def measured() -> speeds.Speeds | None:
    """How fast the kernels are at each precision; None where there are not both, or where it cannot be kept.

    It is kept beside the compiled programs, which are of this machine, too.
    """
    if not (native.kind("f32") and native.kind("bf16")):
        return None
    try:
        return speeds.measured(compiled_programs())
    except OSError:
        return None


def compiled_programs() -> Path:
    """The folder of compiled programs. Raises OSError where there is none."""
    if chosen := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = Path(chosen)
    elif ours := cache.lasting("compiled"):
        folder = ours / f"jaxlib-{jax.lib.__version__}-{platform.machine()}"
    if not (chosen or ours) or "://" in str(chosen):
        raise FileNotFoundError("the compiled programs are in no folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def auto() -> str:
    """What "auto" means here, and how it was found."""
    found = measured()
    times = f": a layer takes {found.bf16:.1f} ms with bf16, {found.f32:.1f} ms with f32" if found else ""
    return f"auto means {precision_of('auto')}{times}"


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

    Called by the command line and never by importing the library. What the environment sets for JAX stays as it is, but for
    numbers of 64 bits (JAX_ENABLE_X64), which nothing here has.
    """
    jax.config.update("jax_enable_x64", False)
    compiled = cache.folder("compiled") / f"jaxlib-{jax.lib.__version__}-{platform.machine()}"
    settings = {
        "jax_compilation_cache_dir": str(compiled),
        "jax_persistent_cache_min_compile_time_secs": 0.2,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        if not os.environ.get(name.upper()):
            jax.config.update(name, value)
    _mend_cache(Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or compiled))
    memory.keep_freed()


def check() -> None:
    """Raise InputError where JAX has no device to compute on, or computes in 64 bits."""
    try:
        jax.default_backend()
    except (RuntimeError, AssertionError):  # by the version of JAX
        asked = f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')!r:.40}"
        raise InputError(f"JAX finds no device here for {asked}: unset it, set it to cpu, or install what JAX needs") from None
    if jnp.result_type(float) == jnp.float64:
        raise InputError(
            "JAX is set to 64 bits (jax_enable_x64) and lmgen computes in 32: unset JAX_ENABLE_X64, or call "
            'jax.config.update("jax_enable_x64", False) first'
        )


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
    """The machine in a few words. Raises InputError where JAX finds no device."""
    check()
    return f"{os.cpu_count()} cores, {jax.default_backend()}"

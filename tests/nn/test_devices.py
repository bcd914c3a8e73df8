"""Products at both precisions, against float64 loops over the operands that are really multiplied."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmgen.models import facts
from lmgen.nn import native, speeds
from lmgen.nn import precision as precision_module
from lmgen.nn.precision import auto, precision_of, product
from lmgen.system import devices

SHAPES = [(1, 1, 1, 1), (1, 5, 7, 300), (3, 1, 64, 17), (35, 4, 2, 65), (7, 1, 33, 3), (13, 1, 5, 1), (47, 33, 12, 20)]


def operands(precision, *arrays):
    """The numbers that a product at this precision multiplies, in float64."""
    return [np.asarray(a.astype(jnp.bfloat16) if precision == "bf16" else a, np.float64) for a in map(jnp.asarray, arrays)]


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("T", "B", "N", "M"), SHAPES)
def test_a_product_and_its_gradient(T, B, N, M, transposed, precision):
    """With bf16 all operands are rounded, those of the gradient too. Also where the products are wanted transposed, which
    XLA has compiled into what it could not run."""
    rng = np.random.default_rng(T)
    a, b, g = (rng.normal(size=shape).astype(np.float32) for shape in ((T, B, N), (M, N) if transposed else (N, M), (T, B, M)))

    @jax.jit
    def ours(a, b, g):
        c, pullback = jax.vjp(lambda a, b: product(a, b, precision, transposed), a, b)
        return [x if x.ndim > 2 else x.T for x in (c, c.reshape(-1, M), *pullback(g))]

    wide_a, wide_b, wide_g = operands(precision, a, b, g)
    right = wide_b.T if transposed else wide_b
    c, db = wide_a @ right, np.einsum("tbn,tbm->nm", wide_a, wide_g)
    wanted = (c, c.reshape(-1, M).T, wide_g @ right.T, db if transposed else db.T)
    for x, y in zip(ours(a, b, g), wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5 * np.abs(y).max())


@pytest.mark.parametrize(
    ("backend", "kinds", "flag", "cell", "wanted"),
    [
        ("gpu", (), "", "elman", "bf16"),
        ("cpu", ("f32", "bf16"), "avx512_bf16", "lstm", "bf16"),
        ("cpu", ("f32",), "avx512_bf16", "lstm", "f32"),  # held back: the kernel of float32 is faster than none
        ("cpu", ("f32",), "avx512_bf16", "elman", "bf16"),
        ("cpu", ("f32",), "avx2", "elman", "f32"),
        ("cpu", (), "amx_bf16", "lstm", "bf16"),
        ("cpu", (), "avx2", "lstm", "f32"),
    ],
)
def test_auto_rounds_where_that_is_faster(backend, kinds, flag, cell, wanted, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(native, "kind", lambda precision: "some" if precision in kinds else "")
    monkeypatch.setattr(precision_module, "cpu_flags", lambda: frozenset({flag}))
    monkeypatch.setattr(speeds, "measured", lambda: None)  # as where no outcome can be kept
    assert precision_of("auto", cell) == wanted
    assert {precision_of(choice, cell) for choice in ("f32", "bf16")} == {"f32", "bf16"}


ARM_CPUINFO = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm crc32 atomics fphp asimdhp sve bf16
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd40
CPU revision\t: 1
"""


def test_a_processor_of_arm_is_described_by_other_fields_of_cpuinfo(monkeypatch):
    read = Path.read_text
    text = lambda path, *how, **named: ARM_CPUINFO if str(path) == "/proc/cpuinfo" else read(path, *how, **named)  # noqa: E731
    monkeypatch.setattr(Path, "read_text", text)
    assert {"asimd", "bf16"} < devices.cpu_flags()
    assert devices.processor() == "0x41 0xd40"
    assert dict(facts.surroundings())["instructions"] == "asimd asimdhp bf16 sve"


# ---- which precision is faster here ------------------------------------------------------------------------------------

both = pytest.mark.skipif(not (native.kind("f32") and native.kind("bf16")), reason="not both kinds of kernels run here")


@pytest.fixture
def outcomes(monkeypatch) -> list[speeds.Speeds]:
    """What the next measurements find."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    found: list[speeds.Speeds] = []
    monkeypatch.setattr(speeds, "measure", lambda: found.pop(0))
    return found


@pytest.mark.parametrize(
    ("f32", "bf16", "choice"), [(4.0, 1.0, "bf16"), (1.0, 4.0, "f32"), (1.0, 1.0, "bf16"), (1.0, 1.04, "bf16")]
)
def test_the_faster_precision_is_chosen_and_bf16_where_they_are_equal(f32, bf16, choice):
    assert speeds.Speeds(f32, bf16).choice == choice


@both
def test_auto_measures_once_and_then_reads(outcomes):
    """Whatever a second measurement would find; for a cell without kernels it is not asked."""
    outcomes += [speeds.Speeds(1.0, 4.0), speeds.Speeds(4.0, 1.0)]
    assert [precision_of("auto") for _ in range(3)] == ["f32"] * 3
    assert len(outcomes) == 1
    assert auto() == "auto means f32: a layer takes 4.0 ms with bf16, 1.0 ms with f32"
    outcomes.clear()
    precision_of("auto", "elman")


@both
def test_other_kernels_are_measured_on_their_own(outcomes, monkeypatch):
    outcomes += [speeds.Speeds(1.0, 4.0), speeds.Speeds(4.0, 1.0)]
    assert precision_of("auto") == "f32"
    with monkeypatch.context() as patched:
        patched.setattr(native, "kind", lambda precision: f"another kind of {precision}")
        assert precision_of("auto") == "bf16"
    assert precision_of("auto") == "f32"


@both
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"f32": 1.0}', b'{"f32": 1.0, "bf16": NaN}', b'{"f32": "1", "bf16": 2.0}', b"\xff"]
)
def test_a_damaged_outcome_is_measured_again(outcomes, content):
    outcomes += [speeds.Speeds(1.0, 4.0), speeds.Speeds(1.0, 4.0)]
    precision_of("auto")
    (path,) = devices.compiled_programs().glob("precision-*.json")
    path.write_bytes(content)
    assert precision_of("auto") == "f32"
    assert not outcomes
    assert [p.name for p in devices.compiled_programs().iterdir()] == [path.name]


@both
def test_where_no_outcome_can_be_kept_nothing_is_measured(outcomes, monkeypatch, tmp_path):
    """Two processes could find different ones; so the rule is that of the kernels alone."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file"))
    assert (speeds.measured(), precision_of("auto")) == (None, "bf16")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr(devices.cache, "lasting", lambda name: None)
    assert (speeds.measured(), precision_of("auto")) == (None, "bf16")


@both
def test_the_outcome_of_the_first_process_stays(outcomes, monkeypatch):
    """Where two measure at a time, both go by what the first one wrote."""

    def overtaken() -> speeds.Speeds:
        monkeypatch.setattr(speeds, "measure", lambda: speeds.Speeds(1.0, 4.0))
        assert precision_of("auto") == "f32"
        return speeds.Speeds(4.0, 1.0)

    monkeypatch.setattr(speeds, "measure", overtaken)
    assert precision_of("auto") == "f32"


@both
def test_both_precisions_are_really_measured():
    assert all(0 < milliseconds < 1e5 for milliseconds in speeds.measure())

"""The format torch: a directory with the weights in PyTorch's names and order, the settings, and one readable file of code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from lmgen.exporting import source
from lmgen.exporting.numpy import COMMANDS
from lmgen.exporting.target import Contents, Target, described, regrouped, rules
from lmgen.models import kinds
from lmgen.system import terminal

MODULES = [
    *(f"portable.{name}" for name in ("given", "norms", "symbols", "writing", "labels", "pairs")),
    *(f"pytorch.{name}" for name in ("layers", "text", "labels", "pairs")),
    "portable.program",
    "pytorch.loading",
]
# Cells that are a layer of PyTorch: for each of its gates the place of ours and the sign of the weights. The z of its GRU is the
# share of the state that stays, ours that of what is written.
PEERS = {
    "lstm": [(0, 1), (1, 1), (3, 1), (2, 1)],
    "gru": [(1, 1), (0, -1), (2, 1)],
    "elman": [(0, 1)],
    "elman-relu": [(0, 1)],
}


def contents(lm: Any) -> Contents:
    """The files of a model."""
    config, about = lm.config, described(lm)
    about |= {
        name: getattr(config, name)
        for name in ("vocab", "embedding", "layers", "layer_norm", "direction", "head_norm", "outputs")
    }
    about |= {name: rows.tolist() for name, rows in rules(lm).items()}
    if lm.kind is kinds.LABELLER:
        about |= {"buckets": len(lm.params["letters"]) if config.hashed else 0}
    wanted = {
        "LAYERS": (about["cell"],),
        "UNITS": (about["unit"],),
        "NETWORKS": (about["task"],),
        "READERS": ("torch",),
        "COMMANDS": (commands := COMMANDS[about["task"]]),
    }
    code = [
        source.docstring(about["name"], "a network of PyTorch: `network`, and what it does with texts", commands[0], "model.py"),
        *source.cut(MODULES, ("main", "load", "arrays", "settings"), wanted, given=("MODEL", "W", "network")),
        f"# {'-' * 118}\n\nMODEL = settings()\nnetwork = load()\nW = arrays()",
        'if __name__ == "__main__":\n    torch.set_num_threads(1)  # one symbol at a time gains nothing from more\n    main()',
    ]
    return {
        "model.py": ("\n\n\n".join(code) + "\n").encode(),
        "config.json": (json.dumps(about, indent=1) + "\n").encode(),
        "model.safetensors": safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in _weights(lm)}),
    }


TARGET = Target(
    "a directory with a network of PyTorch",
    "",
    (kinds.RECURRENT, kinds.CLOZE, kinds.LABELLER, kinds.WRITER, kinds.TRANSLATOR),
    contents,
    then=lambda lm, path: f"try it with: python {terminal.command(str(path / 'model.py'))} --help",
)


def _weights(lm: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The weights under the names of the modules in pytorch/."""
    params, cell = jax.tree.map(np.asarray, lm.params), lm.config.cell
    head = params.get("head") or params["heads"].get("norm", {})
    stacks = {"stack": params, **({"back": params["back"]} if "back" in params else {})}
    for name, stack in stacks.items():
        for k, p in enumerate(stack["layers"]):
            yield from ((f"{name}.layers.{k}.{own}", a) for own, a in (_peer(cell, p) if cell in PEERS else p.items()))
        for k, norm in enumerate(stack.get("norms", [])):
            yield from _norm(f"{name}.norms.{k}", norm)
    if "gain" in head:
        yield from _norm("norm", head)
    tables = {"embedding", "letters", "vectors"} | ({"labels"} if lm.kind is kinds.WRITER else set())
    yield from ((f"{name}.weight", params[name]) for name in tables & params.keys())
    if "head" in params:
        tied = params["embedding"][: len(head["b"])].T
        W = head["W"] if "W" in head else head["P"] @ tied if "P" in head else tied
        yield from _linear("head", {"W": W, "b": head["b"]})
    linear = {name: params[name] for name in ("join", "gate") if name in params} | params.get("heads", {})
    for name, layer in linear.items():
        if name != "norm":
            yield from _linear(name, layer)
    if "attention" in params:
        yield "attention.weight", params["attention"].T


def _linear(name: str, p: Any) -> Iterator[tuple[str, np.ndarray]]:
    yield from ((f"{name}.weight", p["W"].T), (f"{name}.bias", p["b"]))


def _norm(name: str, p: Any) -> Iterator[tuple[str, np.ndarray]]:
    yield from ((f"{name}.weight", p["gain"]), (f"{name}.bias", p["shift"]))


def _peer(cell: str, p: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The weights of a layer of PyTorch."""
    W, U, b = (regrouped(p[name], PEERS[cell]) for name in ("W", "U", "b"))
    of_state = np.zeros_like(b)
    if "b_u" in p:
        of_state[-len(p["b_u"]) :] = p["b_u"]
    yield from (("weight_ih_l0", W), ("weight_hh_l0", U), ("bias_ih_l0", b), ("bias_hh_l0", of_state))

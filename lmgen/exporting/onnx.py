"""The format onnx: one file with the network as a graph, and the symbols and how to use them in its metadata."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lmgen._version import __version__
from lmgen.errors import InputError, LmgenError, printable
from lmgen.exporting.target import Contents, Target, described
from lmgen.models import kinds

LARGEST = (1 << 31) - 1  # bytes of a message of protobuf, which an ONNX file is
TOLERANCE = 1e-4  # nats


def contents(lm: Any) -> Contents:
    """The file of a model, whose results were compared with the model's own.

    Raises InputError where the packages for it are missing or the file would be too large, LmgenError where a result differs.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise InputError("--format onnx needs onnx and onnxruntime: pip install 'lmgen[onnx]'") from None
    from lmgen.exporting import onnxgraph, onnxnetworks

    lm = replace(lm, precision="f32", params=jax.tree.map(jnp.asarray, lm.params))
    network = onnxnetworks.NETWORKS[lm.kind](lm)
    about = {name: value for name, value in described(lm).items() if name != "state"}
    model = onnxgraph.model(network.graph, network.inputs, network.outputs, printable(about["name"]))
    model.producer_name, model.producer_version, model.doc_string = "lmgen", __version__, network.use
    onnx.helper.set_model_props(model, {"use": network.use, "lmgen": json.dumps(about)})
    if (size := model.ByteSize()) > LARGEST:
        raise InputError(f"an ONNX file has 2 GiB at most, and this model takes {size / 2**30:.1f}: choose another --format")
    content = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(content, full_check=True)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(names, network.example), strict=True))
    for wanted, got in network.compared(found):
        if not np.allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE):
            raise LmgenError(
                f"onnxruntime computes other numbers than lmgen, by {np.abs(got - wanted).max():.1g} nats: report it"
            )
    return {"": content}


TARGET = Target(
    "one ONNX file, for onnxruntime and others",
    ".onnx",
    (kinds.RECURRENT, kinds.CLOZE, kinds.LABELLER, kinds.WRITER, kinds.TRANSLATOR),
    contents,
)

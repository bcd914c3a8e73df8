"""The network that writes by label: that of a language model, whose last ids are labels. They are read and never written."""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from lmgen.labelled.corpus import Labels
from lmgen.nn import model
from lmgen.nn.model import NetworkConfig, Params

NEVER = -1e30  # the bias of an id that is never predicted: its probability is 0 at any temperature, and so are its gradients


@dataclass(frozen=True)
class WriterConfig(NetworkConfig):
    """The architecture. The last ids of the `vocab` are the `labels`, which have no spelling, so that no text can forge one;
    with `several` a text may have any number of them, and is read by each."""

    task: str = "generate"
    labels: tuple[str, ...] = ()
    several: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))  # a list in JSON

    @property
    def names(self) -> Labels:
        return Labels(self.labels, (), self.several)

    @property
    def first_label(self) -> int:
        """The id of the first label: the number of ids that are written."""
        return self.vocab - len(self.labels)


def init(config: WriterConfig, key: Array) -> Params:
    """Fresh parameters: those of `model.init`, but no label is ever predicted."""
    params = model.init(config, key)
    return {**params, "head": {**params["head"], "b": params["head"]["b"].at[config.first_label :].set(NEVER)}}

"""A language model of several parts: networks, whose probabilities are averaged, and an n-gram model of the same text.

    p(w | h) = λ_k p_ngram(w | h) + (1 − λ_k) (1 / M) Σ_m p_m(w | h)

where k is the length of the longest context at the end of h that the n-gram model has seen (Jelinek and Mercer 1980). This is the
one place where the parts are combined. In a model directory the network of model.safetensors is the first part, and
mixture.safetensors has the others. Shapes: T time, B batch, V vocabulary, M networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lmgen.errors import CheckpointError, printable
from lmgen.models import ngram, ngramtree, recurrent, schema
from lmgen.models.capabilities import Model, RunsCompiled, ShowsUnits, State
from lmgen.models.ngram import NGramConfig, NGramModel
from lmgen.models.provenance import Provenance
from lmgen.models.recurrent import Recurrent
from lmgen.system import arrayfile, checkpoint, files, trees
from lmgen.system.arrayfile import Arrays

PRIOR = 10  # symbols
DELEGATED = ("kind", "config", "vocab", "params", "precision")


@dataclass(frozen=True, eq=False)
class Mixed(RunsCompiled, ShowsUnits):
    """Networks and an n-gram model that predict together; `weights` [order] are those of the n-gram model, by the length of the
    context that it has seen. What shows units, or holds them, sees the first network alone."""

    networks: Sequence[Recurrent]
    ngrams: NGramModel
    weights: np.ndarray
    provenance: Provenance
    joined_by: ClassVar[str] = "mixed with"

    def __getattr__(self, name: str) -> Any:
        if name not in DELEGATED:
            raise AttributeError(name)
        return getattr(self.networks[0], name)

    @property
    def network(self) -> Recurrent:
        """The first network, as it is without the other parts."""
        return self.networks[0]

    @property
    def described(self) -> str:
        """The parts but the first network, in a few words."""
        others = f"{more(self.networks)} and " if len(self.networks) > 1 else ""
        return f"{others}a Kneser-Ney model of order {self.ngrams.config.order} ({len(self.ngrams):,} n-grams)"

    def arrays(self) -> Arrays:
        return {**self.network.arrays(), **{f"mixture/{name}": array for name, array in self.parts().items()}}

    def parts(self) -> Arrays:
        """The arrays of all parts but the first network."""
        ngrams = {f"ngrams/{name}": a for name, a in self.ngrams.arrays().items()}
        return {"weights": self.weights, **ngrams, **further(self.networks)}

    def facts(self) -> dict[str, Any]:
        """What the file of these parts says of them."""
        return {"order": self.ngrams.config.order, "ngrams": len(self.ngrams)}

    def start(self, batch: int) -> State:
        return [one.start(batch) for one in self.networks], self.ngrams.start(batch).astype(np.int32)

    def read(self, state: State, ids: ArrayLike) -> tuple[State, Array]:
        ids = np.asarray(ids)
        found = [one.read(own, ids) for one, own in zip(self.networks, state[0], strict=True)]
        contexts = self.ngrams.contexts(np.asarray(state[1]), ids)
        log_p = self.ngrams.log_p_after(contexts, ids.shape)
        networks = [jax.nn.log_softmax(logits) for _, logits in found]
        return self._after(state, found, contexts), combined(self._shares, ngram.lengths(contexts, ids), networks, log_p)

    def nats(self, state: State, window: ArrayLike) -> tuple[State, Array]:
        window = np.asarray(window)
        found = [one.nats(own, window) for one, own in zip(self.networks, state[0], strict=True)]
        contexts = self.ngrams.contexts(np.asarray(state[1]), window[:-1])
        log_p = self.ngrams.log_p_of(contexts, window[1:])
        networks = [-nats for _, nats in found]
        return self._after(state, found, contexts), -combined(self._shares, ngram.lengths(contexts, window[1:]), networks, log_p)

    def stepper(self) -> tuple[Any, Callable[[Any, State, Array], tuple[State, Array]]]:
        weights, steps = zip(*(one.stepper() for one in self.networks), strict=True)
        reads = ngramtree.stepper(ngramtree.most_children(self.tree), self.carry)
        return (weights, self.tree, self._shares), _stepper(steps, reads)

    @cached_property
    def tree(self) -> list[ngramtree.Branches]:
        """The n-grams for compiled loops."""
        return [ngramtree.Branches(*map(jnp.asarray, level)) for level in ngramtree.tree_of(self.ngrams.levels)]

    def ngrams_of_kernels(self) -> list[Array]:
        """The weights and the tree of the n-grams as `native.sample` takes them, with probabilities in place of logarithms."""
        levels = [(first, ids, jnp.exp(log_p), jnp.exp(backoff)) for first, ids, log_p, backoff in self.tree]
        return [jnp.exp(self._shares), *(array for level in levels for array in level)]

    @cached_property
    def _shares(self) -> Array:
        return shares(self.weights)

    def _after(self, state: State, found: Sequence[tuple[State, Any]], contexts: list[np.ndarray]) -> State:
        return [after for after, _ in found], ngram.after(np.asarray(state[1]), contexts).astype(np.int32)


def more(networks: Sequence[Any]) -> str:
    """All networks but the first, in words."""
    further = len(networks) - 1
    return f"{further} more network{'s' * (further > 1)}"


def shares(weights: np.ndarray) -> Array:
    """ln of the weights of the networks and of the n-gram model [2, order], by the length of the context."""
    with np.errstate(divide="ignore"):
        return jnp.asarray(np.log(np.stack([1 - weights, weights])), jnp.float32)


@jax.jit
def combined(shares: Array, lengths: ArrayLike, networks: Sequence[ArrayLike], ngrams: ArrayLike) -> Array:
    """ln p of the mixture, of ln p [..., V] of all symbols or [...] of one, by the lengths [...] of the contexts."""
    together: Any = jnp.asarray(networks[0])
    if len(networks) > 1:
        together = jax.nn.logsumexp(jnp.stack(networks), 0) - jnp.log(len(networks))
    of_networks, of_ngrams = shares[:, lengths]
    further = together.ndim - of_networks.ndim
    of_networks, of_ngrams = (jnp.expand_dims(a, range(a.ndim, a.ndim + further)) for a in (of_networks, of_ngrams))
    return jnp.logaddexp(of_networks + together, of_ngrams + ngrams)


@cache
def _stepper(steps: tuple[Callable, ...], reads: Callable) -> Callable[[Any, State, Array], tuple[State, Array]]:
    def step(weights: Any, state: State, ids: Array) -> tuple[State, Array]:
        of_networks, tree, shares = weights
        found = [one(own, before, ids) for one, own, before in zip(steps, of_networks, state[0], strict=True)]
        nodes, log_p = reads(tree, state[1], ids)
        networks = [jax.nn.log_softmax(logits) for _, logits in found]
        return ([after for after, _ in found], nodes), combined(shares, (nodes >= 0).sum(0), networks, log_p)

    return step


# ---- the weights -------------------------------------------------------------------------------------------------------


def mixing_weight(nats: np.ndarray, other: np.ndarray, prior: tuple[float, float] = (0, 0)) -> float:
    """The weight λ of the first of two models in the mixture with the fewest nats, to six digits: the slope of the concave
    function Σ ln(λ p + (1 − λ) q) is bisected. `prior` counts symbols that only the first model, or only the second, predicts."""
    ratio = np.exp(np.clip(np.asarray(other, np.float64) - nats, -700, 700)) - 1  # p / q − 1
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        slope = (ratio / (1 + middle * ratio)).sum() + prior[0] / middle - prior[1] / (1 - middle)
        low, high = (middle, high) if slope > 0 else (low, middle)
    return round((low + high) / 2, 6)


def mixed_nats(nats: np.ndarray, other: np.ndarray, weight: float | np.ndarray) -> np.ndarray:
    """The nats of each symbol under a mixture of two models, with the weight of the first."""
    with np.errstate(divide="ignore"):
        return -np.logaddexp(np.log(weight) - nats, np.log1p(-weight) - other)


def weights_by_length(nats: np.ndarray, other: np.ndarray, lengths: np.ndarray, order: int) -> np.ndarray:
    """The weights [order] of the first of two models by the length of the context at each symbol: as if the one weight that is
    best for all had been seen at PRIOR more symbols of each length."""
    single = mixing_weight(nats, other)
    prior = PRIOR * single, PRIOR * (1 - single)
    chosen = [lengths == k for k in range(order)]
    return np.array([mixing_weight(nats[some], other[some], prior) for some in chosen], np.float32)


# ---- the file ----------------------------------------------------------------------------------------------------------


def write(path: Path, model: Any, times: float) -> None:
    """Write the further parts of a model beside its network. Scoring with all of them takes `times` as long as by the network."""
    about = {
        **model.facts(),
        "networks": len(model.networks),
        "network": arrayfile.digest(model.network.arrays()),
        "network_nats": model.network.provenance.about["valid_nats"],
        "valid_nats": model.provenance.about["valid_nats"],
        "times": round(times, 2),
    }
    arrayfile.write_arrays(path / checkpoint.MIXTURE, "mixture", model.parts(), about)


def further(networks: Sequence[Any]) -> Arrays:
    """The arrays of all networks but the first."""
    return {f"networks/{k}/{name}": a for k, one in enumerate(networks[1:], 1) for name, a in one.arrays().items()}


def forget(path: Path) -> None:
    """Remove the further parts of a model whose network is about to change."""
    with files.explained(f"cannot replace {path / checkpoint.MIXTURE}"):
        (path / checkpoint.MIXTURE).unlink(missing_ok=True)


def with_parts(path: Path, network: Any) -> Model:
    """The model of a directory with all its parts: the network itself where it has no others.

    Raises CheckpointError for parts that are damaged, or of another network.
    """
    where = str(path / checkpoint.MIXTURE)
    if "members" not in network.kind.parts or not (path / checkpoint.MIXTURE).exists():
        return network
    arrays, about = arrayfile.read_arrays(path / checkpoint.MIXTURE, "mixture")
    schema.mixture(path / checkpoint.MIXTURE, about, network.kind)
    if about["network"] != arrayfile.digest(network.arrays()):
        raise CheckpointError(f"{where} is of another network: copy the whole directory again, or give --no-mixture")
    others = [_another(network, _below(f"networks/{k}", arrays), where) for k in range(1, about["networks"])]
    facts = {name: about[name] for name in ("valid_nats", "temperature") if name in schema.mixture_of(network.kind)}
    origin = replace(network.provenance, about={**network.provenance.about, **facts})
    if "mixture" in network.kind.parts:
        whole: Model = _mixed([network, *others], origin, arrays, about["order"], where)
    else:
        whole = network.joined([network, *others], origin)
    if arrays:
        raise CheckpointError(f"{where} holds the array {printable(min(arrays))}, of no part: copy the whole directory again")
    return whole


def _mixed(networks: Sequence[Recurrent], origin: Provenance, arrays: Arrays, order: int, where: str) -> Mixed:
    """Networks with the n-grams that are taken out of the arrays."""
    network = networks[0]
    config = NGramConfig(network.config.vocab, order, network.carry)
    weights = arrays.pop("weights", np.zeros(0, np.float32))
    if weights.shape != (config.order,) or weights.dtype != np.float32 or not ((weights >= 0) & (weights <= 1)).all():
        raise CheckpointError(f"{where} has damaged weights: copy the whole directory again")
    levels = ngram.levels_of(config, _below("ngrams", arrays), where)
    if not all(len(level.keys) for level in levels):
        raise CheckpointError(f"{where} lacks the n-grams of an order: copy the whole directory again")
    return Mixed(networks, NGramModel(config, levels, network.vocab, origin), weights, origin)


def _below(group: str, arrays: Arrays) -> Arrays:
    """The arrays of a group, which are taken out of all."""
    names = [name for name in arrays if name.startswith(f"{group}/")]
    return {name.removeprefix(f"{group}/"): arrays.pop(name) for name in names}


def _another(network: Any, arrays: Arrays, where: str) -> Any:
    """The network of other weights."""
    recurrent.check(network.config, arrays, where)
    return replace(network, params=jax.tree.map(jnp.asarray, trees.unflatten(network.params, arrays, where)))

"""A plan as people read it: each choice with its reason, and the command that trains the same model on any machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lmgen import loading
from lmgen.data.vocab import UNITS
from lmgen.defaults.config import TrainingConfig
from lmgen.defaults.language import NORMED, RATE_OF, Plan
from lmgen.nn.model import NetworkConfig
from lmgen.options import table
from lmgen.options.kinds import Flag
from lmgen.system import terminal
from lmgen.training.run import Chosen

_NAMES = (
    *(
        "cell",
        "direction",
        "residual",
        "skip",
        "weight_decay",
        "clip",
        "patience",
        "keep",
        "seed",
        "members",
        "sampled",
        "beta1",
        "beta2",
    ),
    *("input_dropout", "state_dropout", "weight_dropout", "embedding_dropout", "output_dropout", "ar", "tar"),
)
USUAL = {field.name: field.default for field in (*fields(NetworkConfig), *fields(TrainingConfig)) if field.name in _NAMES}


@dataclass(frozen=True)
class Choice:
    """An option, its value, and the reason for it."""

    name: str
    value: Any
    why: str


def choices(found: Chosen, options: Mapping[str, Any]) -> list[Choice]:
    """What was chosen and why, in the order of the options; those that `options` give are "as asked"."""
    why = _reasons(found, found.plan) if found.plan else {}
    why |= dict.fromkeys(_asked(options), "as asked")
    values = {name: value for name, value in _values(found).items() if not _is_usual(name, value)}
    return [Choice(name, value, why.get(name, "")) for name, value in values.items() if name in why or not found.plan]


def command(found: Chosen, files: Iterable[str], options: Mapping[str, Any]) -> str:
    """The command that takes the same steps whatever the speed of the machine: with the same seed it gives the same model."""
    asked = _asked(options)
    values = {**asked, **_values(found)}
    ends = {"steps": found.plan.steps} if found.plan else {name: asked[name] for name in table.names("end") if name in asked}
    if ends:
        values = {name: value for name, value in values.items() if name not in table.names("end")} | ends
    words = ["lmgen", "train", *files]
    for option in table.TRAIN:
        value = values.get(option.name)
        if value is None or value == option.default or (option.name not in asked and _is_usual(option.name, value)):
            continue
        if isinstance(option.kind, Flag):
            words.append(option.flag if value else f"--no-{option.flag[2:]}")
        else:
            words += [word for one in (value if isinstance(value, tuple | list) else [value]) for word in (option.flag, str(one))]
    return terminal.command(*words)


def _asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that ask for something else than their default."""
    return {one.name: value for one in table.TRAIN if (value := options.get(one.name)) is not None and value != one.default}


def _is_usual(name: str, value: Any) -> bool:
    """Whether an option has the value that every training has unless another is asked for."""
    return name in USUAL and value == USUAL[name]


def _values(found: Chosen) -> dict[str, Any]:
    """The options of network and training by their names, but for those that are not set or that such a model has no use for."""
    both, kind = {**vars(found.network), **vars(found.config)}, loading.type_of(vars(found.network)).kind
    names = {option.name for option in table.TRAIN if not kind.lacks(option)}
    return {
        name: both[name] for name in table.names("network", "training", "end") if name in names and both.get(name) is not None
    }


def _reasons(found: Chosen, plan: Plan) -> dict[str, str]:
    """Why each option was chosen, in a short sentence."""
    network, config, train, facts = found.network, found.config, found.data.train, plan.facts
    noun, kinds = UNITS[found.data.vocab.unit].noun, len(found.data.vocab)
    length = train.symbols / max(1, train.sequences)
    others = [f"{_shape(one)} {one.ratio / plan.ratio - 1:+.1%}" for one in (plan.smaller, plan.larger) if one]
    near = f"the smallest that comes near the least expected loss ({', '.join(others)})"
    wide, normed = network.size > RATE_OF, network.layer_norm
    return {
        "size": near if others else "suits this amount of text",
        "layers": "compared together with the size" if others else "",
        "embedding": f"{kinds:,} kinds of {noun}s" + (": a narrow one keeps the head fast" if network.tie else ""),
        "tie": "the vectors that are read also predict: fewer weights" if network.tie else "a vocabulary so small shares nothing",
        "layer_norm": f"bears a larger learning rate, from {NORMED:,.0f} {noun}s on" if normed else "the text is short",
        "dropout": f"the text is read {facts.passes:.1f} times, with {facts.weights / facts.text:.1f} weights a {noun}",
        "epochs": "a text is learnt by heart if it is read more often",
        "members": "one network does not need all of the time, and an average is better",
        "sampled": f"predicting among all {kinds:,} {noun}s would take most of the time",
        "batch": "smaller batches take more steps in the time, larger ones read more text",
        "window": f"{length:.0f} {noun}s a sequence on average" if config.window <= 32 else "the state is carried beyond it",
        "learning_rate": "falls with the size" if wide else "smaller without layer norm" if not normed else "as large as can be",
    }


def _shape(plan: Plan) -> str:
    return f"{plan.shape['layers']} × {plan.shape['size']}"

"""Labels to learn: what a batch weighs, what balancing weighs, that no label is read, and that it is learnt."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from lmgen.data.vocab import EOS, Vocab
from lmgen.defaults.config import TrainingConfig
from lmgen.labelled.corpus import UNKNOWN, Labels, encode
from lmgen.labelled.examples import Example
from lmgen.networks.labelling import LabelConfig
from lmgen.tasks import task_of
from lmgen.training.step import begin, step

VOCAB = Vocab("word", ("buy", "a", "ticket", "to", "Oslo", "sell"))
NAMES = Labels(("x", "y", "z"), ("O", "B"))
NETWORK = LabelConfig(len(VOCAB), size=12, embedding=8, direction="both", labels=NAMES.labels, tags=NAMES.tags, words=len(VOCAB))
EXAMPLES = [
    Example(("buy", "a", "ticket"), ("x",), ("O", "O", "B")),
    Example(("to", "Oslo"), ("x",), ("O", "B")),
    Example(("sell",), ("y",), ("O",)),
    Example(("sell", "a", "ticket", "to", "Oslo"), ("new",), ("O", "new", "O", "O", "B")),
    Example(("a",), ("x",), ("O",)),
    Example(("to", "to"), ("z",), ("O", "O")),
]


def batches(examples=EXAMPLES, names=NAMES, batch=2, window=8, **changes):
    network = replace(NETWORK, labels=names.labels, tags=names.tags, several=names.several, **changes)
    return task_of(network, "f32").batches(encode(examples, VOCAB, names), batch, window, 0)


def epoch(found):
    return [found[k] for k in range(found.per_epoch)]


def test_each_label_and_each_tag_is_counted_once_an_epoch():
    """EOS, what is left over, and labels that training does not know are not."""
    steps = epoch(batches())
    assert len(steps) > 1
    tags = [t for one in steps for t in one.targets["tags"][one.weights["tags"] > 0].tolist()]
    labels = [t for one in steps for t in one.targets["labels"][one.weights["labels"] > 0].tolist()]
    assert sorted(tags) == [0] * 10 + [1] * 3
    assert sorted(labels) == [0, 0, 0, 1, 2]
    for one in steps:
        assert not one.weights["tags"][one.inputs.ids == EOS].any()
        assert set(np.unique(one.weights["tags"])) | set(np.unique(one.weights["labels"])) <= {0, 1}


def test_targets_stand_beside_their_own_symbols():
    """Each word of these sentences has but one tag, and each sentence begins with a word that has but one label."""
    for one in epoch(batches()):
        counted = one.weights["tags"] > 0
        for id, tag in zip(one.inputs.ids[counted], one.targets["tags"][counted], strict=True):
            assert tag in {"ticket": (0, 1), "Oslo": (1,)}.get(VOCAB.spell(id), (0,))
        for slot in np.flatnonzero(one.weights["labels"]):
            begins = one.inputs.ids[one.inputs.first[slot], one.inputs.column[slot]]
            wanted = {"buy": 0, "to": (0, 2), "sell": 1, "a": 0}[VOCAB.spell(begins)]
            assert one.targets["labels"][slot] in np.atleast_1d(wanted)


def test_several_labels_of_a_text_are_all_counted():
    names = Labels(("x", "y", "z"), (), several=True)
    examples = [Example("buy", ("x", "z")), Example("sell", ()), Example("to", ("y",))]
    (one,) = epoch(batches(examples, names, batch=4))
    rows = {VOCAB.spell(one.inputs.ids[one.inputs.first[k], one.inputs.column[k]]): one.targets["labels"][k] for k in range(3)}
    assert {word: row.tolist() for word, row in rows.items()} == {
        "buy": [True, False, True],
        "sell": [False, False, False],
        "to": [False, True, False],
    }
    assert one.weights["labels"].tolist()[:3] == [1, 1, 1]


def test_balance_makes_all_labels_count_alike():
    """The weights of each label sum to the same, and those of all to the number of targets."""
    steps = epoch(batches(balanced=True))
    for head, counted in (("labels", 5), ("tags", 13)):
        sums = np.zeros(len(getattr(NAMES, head)))
        for one in steps:
            np.add.at(sums, np.maximum(one.targets[head], 0).ravel(), one.weights[head].ravel())
        np.testing.assert_allclose(sums, counted / len(sums), rtol=1e-5)


def test_no_label_is_read():
    """Whatever the labels are, the network reads the same, and its logits are the same."""
    others = [example._replace(labels=("z",), tags=("B",) * len(example.text)) for example in EXAMPLES]
    for one, other in zip(epoch(batches()), epoch(batches(others)), strict=True):
        assert jax.tree.all(jax.tree.map(np.array_equal, one.inputs, other.inputs))
        assert not np.array_equal(one.targets["tags"], other.targets["tags"])


def test_the_loss_is_the_mean_of_each_head_added():
    """With everything at zero each of L labels costs ln L, whatever is left over."""
    task = task_of(NETWORK, "f32")
    config = TrainingConfig(batch=2, window=8, learning_rate=0.0, steps=1)
    state = begin(task, config)
    state = state._replace(params=jax.tree.map(lambda a: 0 * a, state.params))
    _, nats, _ = step(task, config.optimiser, state, batches(batch=8)[0], 0.0, 0)
    assert float(nats) == pytest.approx(np.log(3) + np.log(2), rel=1e-5)


def test_a_step_without_a_known_label_changes_nothing():
    """The loss is 0, and so are all gradients."""
    unknown = [Example(("a",), ("new",), ("new",))]
    task, config = (
        task_of(NETWORK, "f32"),
        TrainingConfig(batch=1, window=8, learning_rate=0.1, weight_decay=0.0, steps=1),
    )
    state = begin(task, config)
    before = jax.tree.map(np.array, state.params)
    after, nats, _ = step(task, config.optimiser, state, batches(unknown)[0], 0.1, 0)
    assert float(nats) == 0
    assert jax.tree.all(jax.tree.map(np.array_equal, before, after.params))


@pytest.mark.parametrize("balanced", [False, True])
def test_a_text_whose_labels_are_all_unknown_has_batches(balanced):
    """As when a training goes on with another text."""
    found = batches([Example(("a", "to"), ("new",), ("new", "new"))], balanced=balanced)
    assert not found[0].weights["labels"].any()
    assert set(found[0].targets["tags"].ravel().tolist()) == {UNKNOWN}


@pytest.mark.parametrize("hashed", [False, True])
def test_it_learns_what_depends_on_the_words_around(hashed):
    """ "Oslo" has another tag after "to", and a sentence another label by its first word."""
    examples = [
        Example((first, *middle, "Oslo"), (label,), ("O", *["O"] * len(middle), "B" if "to" in middle else "O"))
        for first, label in (("buy", "x"), ("sell", "y"))
        for middle in (("a",), ("to",), ("a", "a"), ("to", "a"), ("a", "to"))
    ]
    names = Labels(("x", "y"), ("O", "B"))
    network = replace(NETWORK, labels=names.labels, tags=names.tags, hashed=hashed)
    task, config = task_of(network, "f32"), TrainingConfig(batch=4, window=16, learning_rate=0.02, weight_decay=0.0, steps=150)
    data, state = task.batches(encode(examples, VOCAB, names), 4, 16, 0), begin(task, config)
    for number in range(150):
        state, nats, _ = step(task, config.optimiser, state, data[number], 0.02, number)
    assert float(nats) < 0.5  # of 2 ln 2; what is read as UNK cannot be known

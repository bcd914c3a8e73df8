"""Model directories by name: whole under it or not there, held from the start, found, renamed, removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmgen.errors import CheckpointError, InputError
from lmgen.system import checkpoint, directories, lock
from lmgen.system.lock import TakenError

TEXTS = {"config.json": "{}", "vocab.json": "{}"}


def fill(folder: Path, step: int = 1) -> None:
    """A model and a snapshot."""
    checkpoint.create(folder, TEXTS)
    checkpoint.write_model(folder, {"W": np.full(3, step)}, {"step": step})
    checkpoint.write_snapshot(folder, step, {"W": np.full(3, step)}, {"progress": {"step": step}})


def step_of(path: Path) -> int:
    return checkpoint.read_model(path)[1]["step"]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name not in (".cache", "train", "cache"))


def test_models_are_found_by_path_by_name_or_as_the_newest(model_path, tmp_path):
    home = Path("checkpoints")
    with pytest.raises(CheckpointError, match="there is no model in checkpoints"):
        directories.find(None)
    for when, name in enumerate(["old", "new"]):
        shutil.copytree(model_path, home / name)
        os.utime(home / name / "model.safetensors", (when, when))
    assert directories.find(None) == home / "new"
    assert directories.find("old") == home / "old"
    assert directories.find("checkpoints/old") == home / "old"
    assert directories.find("checkpoints/old/model.safetensors") == home / "old"
    with pytest.raises(CheckpointError, match="did you mean old"):
        directories.find("odl")


def test_nothing_is_overwritten_without_force(tmp_path):
    fill(tmp_path / "m")
    with pytest.raises(InputError, match="m-2"), directories.new(tmp_path / "m"):
        pass
    assert names(tmp_path) == ["m"]
    with directories.new(tmp_path / "m", force=True) as place:
        assert step_of(tmp_path / "m") == 1
        fill(place.folder, 2)
        assert step_of(tmp_path / "m") == 1
        place.publish()
    assert step_of(tmp_path / "m") == 2
    assert names(tmp_path) == ["m"]


def test_what_is_not_published_leaves_nothing(tmp_path):
    """An interrupt, an error, a disk that is full: what was there before is there, and the folders made for it are not."""
    fill(tmp_path / "m")
    with contextlib.suppress(KeyboardInterrupt), directories.new(tmp_path / "m", force=True) as place:
        checkpoint.create(place.folder, TEXTS)
        raise KeyboardInterrupt
    with directories.new(tmp_path / "a" / "b" / "m") as place:
        checkpoint.create(place.folder, TEXTS)
    assert names(tmp_path) == ["m"]
    assert step_of(tmp_path / "m") == 1


def test_weights_without_a_snapshot_get_a_name_of_their_own(tmp_path):
    """On a disk that has no room for the snapshot: they replace no model, and are not lost."""
    fill(tmp_path / "m")
    with directories.new(tmp_path / "m", force=True) as place:
        fill(place.folder, 5)
    assert (step_of(tmp_path / "m"), step_of(tmp_path / "m-2")) == (1, 5)


@pytest.mark.parametrize("left", [["mine.txt"], ["config.json", "vocab.json", "pytorch_model.bin"], ["vocab.json"]])
def test_force_leaves_alone_what_is_not_ours(tmp_path, left):
    (tmp_path / "other").mkdir()
    for name in left:
        (tmp_path / "other" / name).write_text("x")
    with pytest.raises(InputError, match="remove it yourself"), directories.new(tmp_path / "other", force=True):
        pass
    assert names(tmp_path / "other") == sorted(left)


@pytest.mark.parametrize("left", [[], [".config.json.123.part"], ["config.json", "vocab.json", "metrics.jsonl"]])
def test_what_a_killed_start_has_left_is_free(tmp_path, left):
    """Under its name, as older versions began a directory, and hidden."""
    for name in ("m", ".m.new"):
        (tmp_path / name).mkdir()
        for file in left:
            (tmp_path / name / file).write_text("{")
    (tmp_path / ".m.123.removed").mkdir()
    with directories.new(tmp_path / "m") as place:
        fill(place.folder)
        place.publish()
    assert step_of(tmp_path / "m") == 1
    assert names(tmp_path) == ["m"]


def test_hidden_directories_of_others_are_left_alone(tmp_path):
    (tmp_path / ".m.new").mkdir()
    (tmp_path / ".m.new" / "diary").write_text("mine")
    with pytest.raises(InputError, match="not of lmgen"), directories.new(tmp_path / "m"):
        pass
    assert names(tmp_path / ".m.new") == ["diary"]


def test_force_leaves_a_link_and_a_running_training_alone(tmp_path):
    fill(tmp_path / "m")
    (tmp_path / "link").symlink_to(tmp_path / "m")
    with pytest.raises(InputError, match="remove it yourself"), directories.new(tmp_path / "link", force=True):
        pass
    with (
        lock.locked(tmp_path / "m"),
        pytest.raises(InputError, match="is being trained by process"),
        directories.new(tmp_path / "m", force=True),
    ):
        pass
    assert step_of(tmp_path / "m") == 1


def test_a_name_is_held_from_the_start(tmp_path):
    """Before anything is written: another training of that name is refused, and one without --output takes the next."""
    with directories.new(tmp_path / "m", count_on=True) as first, directories.new(tmp_path / "m", count_on=True) as second:
        assert (first.path.name, second.path.name) == ("m", "m-2")
        with pytest.raises(TakenError, match=f"is being trained by process {os.getpid()}"), directories.new(tmp_path / "m"):
            pass
        assert directories.models(tmp_path) == []
        for place in (first, second):
            fill(place.folder)
            assert directories.models(tmp_path) == []
        for place in (first, second):
            place.publish()
        with pytest.raises(TakenError, match="is being trained"), lock.locked(tmp_path / "m-2"):
            pass
    assert names(tmp_path) == ["m", "m-2"]


def test_a_name_taken_meanwhile_costs_no_training(tmp_path):
    with directories.new(tmp_path / "m") as place:
        fill(place.folder, 7)
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "mine").write_text("x")
        place.publish()
    assert names(tmp_path / "m") == ["mine"]
    assert step_of(tmp_path / "m-2") == 7


def test_a_replacement_killed_halfway_is_mended_by_whoever_looks(tmp_path):
    """The old model is moved aside, the new one is not in its place yet."""
    for look in (
        lambda: directories.find("m", tmp_path),
        lambda: directories.find(str(tmp_path / "m")),
        lambda: directories.find(None, tmp_path),
    ):
        fill(tmp_path / ".m.old", 1)
        fill(tmp_path / ".m.new", 2)
        assert step_of(look()) == 1
        with directories.new(tmp_path / "m", force=True) as place:
            fill(place.folder, 3)
            place.publish()
        assert step_of(tmp_path / "m") == 3
        assert names(tmp_path) == ["m"]
        shutil.rmtree(tmp_path / "m")


RACE = """
import sys, time
from pathlib import Path
import numpy as np
from lmgen.system import checkpoint, directories
from lmgen.system.lock import TakenError
path, step, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
sys.stdin.readline()
done = 0
for number in range(step, step + 10 if how == "force" else step + 1):
    try:
        with directories.new(path, force=how == "force", count_on=how == "next") as place:
            checkpoint.create(place.folder, {"config.json": "{}", "vocab.json": str(number)})
            checkpoint.write_model(place.folder, {"W": np.full(3, number)}, {"step": number})
            checkpoint.write_snapshot(place.folder, number, {"W": np.full(3, number)}, {"progress": {"step": number}})
            place.publish()
            assert checkpoint.read_snapshot(path if how == "force" else place.path)[1]["progress"]["step"] == number
            print(place.path.name, number)
            done += 1
    except TakenError:
        time.sleep(0.002)
assert done or how == "force"
"""


@pytest.mark.parametrize("how", ["force", "next"])
def test_trainings_that_start_together_get_a_directory_each_or_take_turns(tmp_path, how):
    """Six processes at once: whoever ends well has its own model under the name that it was told."""
    command = [sys.executable, "-c", RACE, str(tmp_path / "m")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    racers = [subprocess.Popen([*command, str(100 * k), how], text=True, **pipes) for k in range(1, 7)]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    told = []
    for racer in racers:
        out, err = racer.communicate(timeout=60)
        assert racer.returncode == 0, err
        told += [line.split() for line in out.splitlines()]
    if how == "next":
        assert sorted(name for name, _ in told) == ["m", *(f"m-{k}" for k in range(2, 7))]
        assert all(step_of(tmp_path / name) == int(step) for name, step in told)
    else:
        assert {name for name, _ in told} == {"m"}
        assert step_of(tmp_path / "m") in {int(step) for _, step in told}
    assert names(tmp_path) == sorted({name for name, _ in told})


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("names", "names"),
        ("../x", "x"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("a\x1b[31mb", "a-[31mb"),
        ("", "model"),
        ("é" * 99, "é" * 50),
        ("a.", "a"),
        ("a . ", "a"),
        ("con", "model-con"),
        ("NUL.tar", "model-NUL.tar"),
        ("com¹ .x", "model-com¹ .x"),
        ("console", "console"),
        ("C:\\texts\\a?", "C--texts-a-"),
    ],
)
def test_names_of_runs_are_safe(name, safe):
    assert directories.safe_name(name) == safe


def test_names_that_a_terminal_would_act_on_are_shown_with_question_marks(tmp_path):
    fill(tmp_path / "na\x1b[31m\nmes")
    with pytest.raises(CheckpointError) as error:
        directories.find("na\x1b[31m\nme", tmp_path)
    assert str(error.value) == "there is no model na?[31m?me: did you mean na?[31m?mes?"


def test_the_free_name_counts_on(tmp_path):
    assert directories.free(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").symlink_to("nowhere")
    assert directories.free(tmp_path / "a") == tmp_path / "a-3"

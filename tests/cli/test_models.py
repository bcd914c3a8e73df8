"""list, remove, rename: a row a model, and nothing goes that was not meant."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lmgen.cli import main
from lmgen.system import directories, lock

HOME = Path("checkpoints")


@pytest.fixture
def home(model_path, tmp_path) -> Path:
    """Two models."""
    for name in ("old", "new"):
        shutil.copytree(model_path, HOME / name)
    os.utime(HOME / "old" / "model.safetensors", (1, 1))
    return HOME


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_list_shows_the_models_as_show_does(home, lmgen):
    code, out, _ = lmgen("list", "--json")
    assert code == 0
    assert [row["name"] for row in map(json.loads, out.splitlines())] == ["new", "old"]
    assert lmgen("list") == lmgen("show")
    shutil.rmtree(home)
    assert lmgen("list")[1:] == ("", "there is no model in checkpoints: train one with lmgen train FILE\n")


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_each_model_is_one_row(home, model_path, monkeypatch, capsys, columns):
    """On a terminal; with long names, names in Chinese, and the longest figures left whole."""
    for name in (
        "a-name-that-goes-on-and-on-for-more-than-any-terminal-is-wide-0123456789",
        "一个非常长的中文模型名称一个非常长的中文模型名称",
    ):
        shutil.copytree(model_path, home / name)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", ["lmgen", "list"])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit):
        main.main()
    from rich.cells import cell_len

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 4
    assert max(map(cell_len, lines)) <= columns
    assert all("lstm 1 ×" in line and "2." in line for line in lines[2:])


def test_remove_asks_on_a_terminal(home, lmgen, monkeypatch):
    for answer, code, left in (("n\n", 1, ["new", "old"]), ("\n", 1, ["new", "old"]), ("y\n", 0, ["old"])):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        found, out, err = lmgen("remove", "new")
        assert (found, out) == (code, "")
        assert "Remove checkpoints/new for good? [y/N]" in err
        assert sorted(os.listdir(home)) == left


def test_remove_without_a_terminal_wants_yes(home, lmgen):
    code, _, err = lmgen("remove", "new", stdin="y\n")
    assert code == 2
    assert "add --yes" in err
    assert sorted(os.listdir(home)) == ["new", "old"]
    code, out, err = lmgen("remove", "new", "old", "new", "--yes")
    assert (code, out) == (0, "")
    assert len(err.splitlines()) == 2
    assert os.listdir(home) == []


def test_remove_and_rename_leave_alone_what_is_not_a_model_or_is_in_use(home, lmgen, tmp_path):
    (home / "link").symlink_to("old")
    (home / "new" / "diary").write_text("mine")
    (tmp_path / "folder").mkdir()
    for words in (["remove", "--yes"], ["rename", "other"]):
        for name in ("link", "new", "folder", "nothing"):
            code, _, err = lmgen(words[0], name, *words[1:])
            assert code in (2, 3), name
            assert len(err.splitlines()) == 1
        with lock.locked(home / "old"):
            code, _, err = lmgen(words[0], "old", *words[1:])
            assert code == 2
            assert f"is being trained by process {os.getpid()}" in err
    assert sorted(os.listdir(home)) == ["link", "new", "old"]
    assert (home / "new" / "diary").exists()


def test_a_model_is_used_by_its_new_name(home, lmgen):
    before = lmgen("sample", "old", "--seed", "1")
    assert lmgen("rename", "old", "towns") == (0, "", "the model is in checkpoints/towns\n")
    assert sorted(os.listdir(home)) == ["new", "towns"]
    assert lmgen("sample", "towns", "--seed", "1") == before
    assert lmgen("train", "--resume", "towns", "--steps", "61", "--quiet")[0] == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("new", "is taken: give another one, such as new-2"),
        ("a/b", "such as a-b"),
        ("../x", "such as x"),
        (".hidden", "such as hidden"),
        ("-rf", "such as rf"),
        ("a\x1b[31mb\nc", "such as a-[31mb-c"),
        ("x" * 101, "such as x"),
        ("", "such as model"),
    ],
)
def test_names_that_are_unsafe_or_taken_are_refused(home, lmgen, name, says):
    code, _, err = lmgen("rename", "--", "old", name)
    assert code == 2
    assert says in err
    assert "\x1b" not in err
    assert len(err.splitlines()) == 1
    assert sorted(os.listdir(home)) == ["new", "old"]


def test_a_kill_while_a_model_is_removed_leaves_all_of_it_or_nothing(home, monkeypatch):
    """It loses its name before its first file; what is left is cleared when the name is used again, and never comes back."""

    def killed(*_, **__):
        raise KeyboardInterrupt

    shutil.copytree(home / "new", home / ".new.old")
    monkeypatch.setattr(shutil, "rmtree", killed)
    for _ in range(2):  # the first kill falls on what an older one has left
        with pytest.raises(KeyboardInterrupt):
            directories.remove(home / "new")
        whole = (home / "new" / "model.safetensors").exists()
        assert [p.name for p in directories.models()] == ["new", "old"][not whole :]
    assert not whole


def test_show_and_list_import_no_jax(model_path):
    """They would take four times as long."""
    for words in (["show", str(model_path)], ["show", str(model_path), "--json"], ["list"]):
        program = f"import sys\nfrom lmgen.cli.main import cli\ncli.main({words!r}, standalone_mode=False)\n"
        run = subprocess.run([sys.executable, "-c", program + "assert 'jax' not in sys.modules"], capture_output=True)
        assert run.returncode == 0, run.stderr

"""lmgen completion: what a shell completes, and where its script goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from lmgen.cli.about import COMPLETES
from lmgen.cli.main import cli
from support import ROOT


def completed(*words: str) -> list[str]:
    """What the last word of a command is completed to; a file by the empty string."""
    found = ShellComplete(cli, {}, "lmgen", COMPLETES).get_completions([*words[:-1]], words[-1])
    return ["" if item.type == "file" else item.value for item in found]


def test_commands_options_and_values_are_completed():
    assert completed("compl") == ["completion"]
    assert "--temperature" in completed("sample", "--temp")
    assert completed("train", "--sequence", "para") == ["paragraph"]
    assert "lstm" in completed("train", "--cell", "ls")
    assert completed("train", "citi") == ["cities", ""]
    assert completed("corpus", "write", "citi") == ["cities"]


def test_models_are_completed_by_their_names():
    Path("checkpoints/towns").mkdir(parents=True)
    Path("checkpoints/towns/config.json").write_text("{}")
    assert completed("sample", "t") == completed("sample", "--with", "t") == ["towns", ""]


@pytest.mark.posix
def test_bash_completes_by_the_script(lmgen):
    bash = shutil.which("bash")
    _, script, err = lmgen("completion", "bash", "--print")
    if not bash or "cannot complete" in err:
        pytest.skip("needs bash 4.4 or later")
    Path("lmgen").write_text(f'#!/bin/sh\nexec {sys.executable} -m lmgen "$@"\n')
    Path("lmgen").chmod(0o755)
    ask = 'COMP_WORDS=(./lmgen sco); COMP_CWORD=1; _lmgen_completion ./lmgen sco lmgen; echo "${COMPREPLY[@]}"'
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([bash, "-c", f"{script}\n{ask}"], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split() == ["score"], done.stderr


@pytest.mark.posix
@pytest.mark.parametrize(
    ("shell", "path"),
    [("fish", ".config/fish/completions/lmgen.fish"), ("zsh", ".local/share/zsh/site-functions/_lmgen")],
)
def test_the_script_goes_where_the_shell_looks(lmgen, monkeypatch, tmp_path, shell, path):
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    for _ in range(2):  # an older script of lmgen is replaced
        code, _, err = lmgen("completion")
        assert code == 0
        assert path in err
    assert COMPLETES in (tmp_path / path).read_text()
    (tmp_path / path).write_text("mine")
    code, _, err = lmgen("completion", shell)
    assert code == 2
    assert "not of lmgen" in err
    assert "--print" in err
    assert (tmp_path / path).read_text() == "mine"


def test_an_unknown_shell_is_a_sentence(lmgen, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    code, _, err = lmgen("completion")
    assert (code, err) == (2, "lmgen: the shell in use is tcsh: name one, as in lmgen completion bash\n")

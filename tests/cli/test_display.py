"""Work as it goes: when a line is written, what a sparkline shows, and that a panel leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmgen.defaults.config import StepReport
from lmgen.training import display, metrics
from support import SMALL, on_a_terminal


def report(step: int, seconds: float, **options) -> StepReport:
    return StepReport(step, step * 10, seconds, 0.5, 100.0, 0.01, train_nats=2.0, **options)


def logged(capsys, seconds: list[float]) -> list[float]:
    """The seconds of the lines that are written of reports at some seconds."""
    with display.Display(display.Loss("char", 1.0)) as shown:
        for step, at in enumerate(seconds):
            shown.show(report(step, at, valid_nats=3 - step / 1000, best=True))
    return [seconds[int(line)] for line in re.findall(r"^step ([\d,]+),", capsys.readouterr().err.replace(",", ",", 1), re.M)]


def test_lines_of_a_log_grow_apart_and_the_last_is_there(capsys):
    """At 1, 2, 5, 10, 20, 30 and 60 seconds, then once a minute, however many reports there are."""
    assert logged(capsys, [k / 4 for k in range(4 * 60 + 3)]) == [1, 2, 5, 10, 20, 30, 60, 60.5]
    assert logged(capsys, [k * 20.0 for k in range(20)]) == [20, 40, 60, 120, 180, 240, 300, 360, 380]
    assert logged(capsys, [0.0, 0.1, 0.2]) == [0.2]
    assert logged(capsys, [500.0, 500.5, 501.5]) == [501.5]  # a training that goes on begins anew


def test_a_quiet_display_says_nothing(capsys):
    with display.Display(display.Loss("char", 1.0), quiet=True) as shown:
        shown.show(report(1, 100.0))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 20, "▁▂▃▄▅▆▇█"),
        ([7.0, 0.0], 9, "█▁"),
        ([3, 3, 3], 9, "▁▁▁"),
        ([0, 0, 7, 7], 2, "▁█"),
        ([1.0], 9, ""),
        ([], 9, ""),
        ([1, 2], 1, ""),
    ],
)
def test_a_sparkline_is_worked_by_hand(values, width, line):
    assert display.sparkline(values, width, io.TextIOWrapper(io.BytesIO(), "utf-8")) == line
    assert display.sparkline(values, width, io.TextIOWrapper(io.BytesIO(), "ascii")) == ""


def test_a_terminal_that_shrinks_keeps_nothing_of_the_panel():
    """In tmux, which breaks lines that have become too wide: what stands there in the end is what stood there before."""
    program = (
        "import sys, time\nfrom lmgen.training.display import Panel\nprint('before', file=sys.stderr)\npanel = Panel()\n"
        "panel.draw('x' * 95)\npanel.draw('x' * 95 + '\\n' + 'y' * 30)\ntime.sleep(1.5)\n"
        "panel.draw('z' * 40)\npanel.erase()\nprint('after', file=sys.stderr)\ntime.sleep(60)"
    )
    python = ["env", "-u", "COLUMNS", sys.executable, "-c"]
    try:
        server = ["tmux", "-f", "/dev/null", "-L", f"lmgen-test-{os.getpid()}"]
        subprocess.run([*server, "new-session", "-d", "-x", "100", "-y", "20", *python, program], check=True)
    except FileNotFoundError:
        pytest.skip("tmux is not here")

    def screen() -> str:
        return subprocess.run([*server, "capture-pane", "-p", "-S", "-"], check=True, capture_output=True, text=True).stdout

    def wait_for(word: str) -> str:
        end = time.monotonic() + 20
        while word not in (seen := screen()) and time.monotonic() < end:
            time.sleep(0.1)
        return seen

    try:
        assert "y" * 30 in wait_for("y" * 30)
        subprocess.run([*server, "resize-window", "-x", "50"], check=True)
        assert wait_for("after").split() == ["before", "after"]
    finally:
        subprocess.run([*server, "kill-server"], check=False)


def test_cells_show_progress_on_a_terminal_alone(lmgen):
    seen = on_a_terminal("cells", "elman", "gru", "--size", "8", columns=80)
    assert "1 of 2: elman" in seen
    assert "2 of 2: gru" in seen
    _, _, err = lmgen("cells", "elman", "--size", 8)
    assert err == "measuring 1 cell with 8 units …\n"


def test_a_training_in_a_pipe_writes_one_line_at_its_end(lmgen, words_file):
    """Not one at each of its first few validations, all within a second."""
    code, _, err = lmgen("train", words_file, "--steps", 400, *SMALL)
    assert code == 0
    steps = [line for line in err.splitlines() if line.startswith("step ")]
    assert 1 <= len(steps) <= 4
    assert steps[-1].startswith("step 400,")
    assert len(Path("checkpoints/words/metrics.jsonl").read_text().splitlines()) > len(steps)


def test_show_tells_how_the_validation_went(lmgen, model_path, monkeypatch):
    shutil.copytree(model_path, "checkpoints/m")
    lines = [{"step": k, "valid_nats": 9 - k, "train_nats": 2.0, "learning_rate": 0.1} for k in range(1, 9)]
    Path("checkpoints/m/metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"step": 9, "val')
    out = lmgen("show", "m")[1]
    assert re.search(r"^validation +█▇▆▅▄▃▂▁ 8.000 to 1.000$", out, re.M)
    assert metrics.read(Path("checkpoints/m"))["valid_nats"] == ([*range(1, 9)], [8, 7, 6, 5, 4, 3, 2, 1])
    seen = on_a_terminal("show", "m", columns=24, NO_COLOR="1")
    assert "█▇▆▅▄▃▂▁" not in seen  # there is no room for eight
    Path("checkpoints/m/metrics.jsonl").unlink()
    assert "validation " not in lmgen("show", "m")[1]


def test_a_plot_is_a_picture_and_overwrites_nothing(lmgen, model_path):
    pytest.importorskip("matplotlib")
    code, _, err = lmgen("show", model_path, "--plot", "curves.png")
    assert (code, err) == (0, "wrote curves.png\n")
    picture = Path("curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert lmgen("show", model_path, "--plot", "curves.png")[0] == 2
    assert Path("curves.png").read_bytes() == picture
    assert lmgen("show", model_path, "--plot", "curves.xyz")[0] == 2
    assert not Path("curves.xyz").exists()
    assert lmgen("show", model_path, "--plot", "curves.svg")[0] == 0
    drawn = {
        name: name in Path("curves.svg").read_text() for name in ("training", "validation", "gradient norm", "learning rate")
    }
    assert all(drawn.values()), drawn


def test_a_plot_of_a_training_before_there_was_a_gradient_norm_has_no_panel_for_it(lmgen, model_path, tmp_path):
    pytest.importorskip("matplotlib")
    shutil.copytree(model_path, tmp_path / "m")
    path = tmp_path / "m" / "metrics.jsonl"
    path.write_text(re.sub(r'"gradient_norm": [^,]+, ', "", path.read_text()))
    assert lmgen("show", tmp_path / "m", "--plot", "curves.svg")[0] == 0
    assert "gradient norm" not in Path("curves.svg").read_text()
    assert "learning rate" in Path("curves.svg").read_text()


def test_a_plot_says_that_training_predicted_among_few_symbols(lmgen, words_file):
    pytest.importorskip("matplotlib")
    size = ["--unit", "word", "--size", "4", "--embedding", "4", "--batch", "2", "--window", "4", "--steps", "3", "--quiet"]
    assert lmgen("train", words_file, *size, "--sampled", "2", "-o", "few")[0] == 0
    assert lmgen("train", words_file, *size, "-o", "all")[0] == 0
    for name in ("few", "all"):
        assert lmgen("show", name, "--plot", f"{name}.svg")[0] == 0
        assert ("among few symbols" in Path(f"{name}.svg").read_text()) == (name == "few")
        lines = Path(name, "metrics.jsonl").read_text().splitlines()
        assert {json.loads(line).get("sampled", 0) for line in lines} == {2 if name == "few" else 0}


def test_matplotlib_is_an_extra(lmgen, model_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    code, _, err = lmgen("show", model_path, "--plot", "curves.png")
    assert code == 2
    assert err.splitlines()[-1].endswith("pip install matplotlib")
    assert not Path("curves.png").exists()
    assert lmgen("show", "--plot", "curves.png")[0] == 2

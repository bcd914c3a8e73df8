"""kill -9 at every system call of a save, and at random moments of real trainings: the checkpoint before or the new one loads."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import save

import faults
from lmgen.errors import InputError
from lmgen.system import checkpoint, directories, lock

strace = pytest.mark.skipif(not faults.STRACE, reason="strace is not installed")


@pytest.fixture
def saved(tmp_path) -> Path:
    """A directory with the saves of the steps 1 and 2."""
    path = tmp_path / "m"
    save.make(path)
    save.save(path, 1)
    save.save(path, 2)
    return path


@strace
def test_a_kill_at_any_system_call_of_a_save_leaves_a_checkpoint(saved, tmp_path):
    """Step 2 is there, step 3 is being saved. The next start clears the leftovers, and the next save succeeds."""
    fresh = tmp_path / "fresh"
    shutil.copytree(saved, fresh)
    stops = faults.calls(fresh, 3)
    assert {"openat", "write", "fsync", "rename", "unlink"} <= {call.name for call in stops}
    seen = set()
    for call in stops:
        path = tmp_path / "killed"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(saved, path)
        run = faults.traced(path, 3, f"{call.name}:signal=SIGKILL:when={call.number}")
        assert run.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), (call, run.stderr)
        steps = faults.states(path)
        assert set(steps) <= {2, 3}, (call, steps)
        seen.add(steps)
        with lock.locked(path):
            assert not list(path.rglob(".*.part")), call
        save.save(path, 4)
        assert faults.states(path) == (4, 4)
    assert {(2, 2), (3, 3)} <= seen


@strace
def test_a_kill_in_the_first_save_leaves_a_directory_that_says_so(tmp_path):
    """Where nothing was saved before, there is nothing yet, or all of the new."""
    save.make(tmp_path / "fresh")
    for call in faults.calls(tmp_path / "fresh", 1)[:: 1 if faults.LONG else 4]:
        path = tmp_path / "killed"
        shutil.rmtree(path, ignore_errors=True)
        save.make(path)
        faults.traced(path, 1, f"{call.name}:signal=SIGKILL:when={call.number}")
        if checkpoint.snapshots(path):
            assert faults.states(path) == (1, 1)
        elif (path / "model.safetensors").exists():
            assert checkpoint.read_model(path)[1]["step"] == 1


@strace
def test_a_kill_at_any_system_call_of_a_replacement_leaves_the_old_model_or_the_new(saved, tmp_path):
    """`train --force`: under the name is step 2 or step 3, whole, once somebody looks; the next training of the name succeeds."""
    folder = tmp_path / "killed"
    stops = faults.calls(shutil.copytree(saved, tmp_path / "fresh"), 3, "replace")
    assert {"mkdir", "write", "fsync", "rename", "unlinkat"} <= {call.name for call in stops}
    renames = [call for call in stops if call.name == "rename"]
    seen = set()
    for call in stops if faults.LONG else [*stops[::12], *renames]:
        shutil.rmtree(folder, ignore_errors=True)
        path = shutil.copytree(saved, folder / "m")
        run = faults.traced(path, 3, f"{call.name}:signal=SIGKILL:when={call.number}", how="replace")
        assert run.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), (call, run.stderr)
        assert {p.name for p in directories.models(folder)} == {"m"}, call
        steps = faults.states(directories.find(str(path)))
        assert set(steps) <= {2, 3}, (call, steps)
        seen.add(steps)
        save.replace(path, 4)
        assert faults.states(path) == (4, 4)
        assert {p.name for p in folder.iterdir()} == {"m", "m.log"}, call
    assert seen == {(2, 2), (3, 3)}


@strace
def test_a_replacement_that_fails_at_any_system_call_leaves_the_old_model(saved, tmp_path):
    """A disk that is full or broken, no inode left: one sentence, and the model that was there."""
    folder = tmp_path / "full"
    stops = faults.calls(shutil.copytree(saved, tmp_path / "fresh"), 3, "replace")
    refusable = [call for call in stops if call.name in ("mkdir", "fsync", "rename") or ".part" in call.words]
    for number, call in enumerate(refusable if faults.LONG else refusable[::4]):
        shutil.rmtree(folder, ignore_errors=True)
        path = shutil.copytree(saved, folder / "m")
        error = [*faults.ERRORS][number % 3]
        run = faults.traced(path, 3, f"{call.name}:error={error}:when={call.number}", how="replace")
        steps = faults.states(directories.find(str(path)))
        assert (run.returncode, steps) in ((1, (2, 2)), (0, (3, 3)), (1, (3, 3))), (call, error, run.stderr)
        assert len(run.stderr.splitlines()) == run.returncode, (call, run.stderr)
        assert run.returncode == 0 or faults.ERRORS[error] in run.stderr


@strace
def test_what_is_renamed_is_on_the_disk_before_and_its_name_after(saved):
    """Every rename comes after an fsync of what is renamed, with no write between, and before an fsync of its directory."""
    stops = faults.calls(saved, 3)
    renames = [k for k, call in enumerate(stops) if call.name == "rename"]
    assert len(renames) == 3  # the model, its card, the snapshot
    for k in renames:
        part, target = re.findall(r'"([^"]+)"', stops[k].words)
        touching = [call.name for call in stops[:k] if call.name in ("write", "fsync") and f"<{part}>" in call.words]
        assert touching[-1] == "fsync"
        assert "write" in touching
        after = next(call for call in stops[k + 1 :] if call.name in ("fsync", "rename"))
        assert after.name == "fsync"
        assert f"<{Path(target).parent}>" in after.words


def test_leftovers_of_others_are_left_alone(saved):
    """What a killed save left is cleared at the next start; other hidden files, and parts of other programs, are not ours."""
    ours = [saved / ".model.safetensors.123.part", saved / "train" / ".step-00000003.safetensors.9.part"]
    others = [saved / ".mine.part", saved / "film.part", saved / "train" / ".step-3.part", saved / ".model.safetensors.x.part"]
    for path in (*ours, *others):
        path.write_text("half")
    assert faults.states(saved) == (2, 2)
    with lock.locked(saved):
        assert not any(path.exists() for path in ours)
        assert all(path.exists() for path in others)


EXAMPLES: dict[str, Callable[[str], str]] = {  # of what each task learns from, made of a word
    "language": str,
    "classify": lambda word: f"{word[-1]}\t{word[:2]} {word}",
    "translate": lambda word: f"{word}\t{word[::-1]}",
    "tree": lambda word: f"({word[-1]} ({word[0]} {word[:2]}) ({word[-1]} {word[2:] or 'x'}))",
}


@pytest.mark.parametrize("task", ["language", *(pytest.param(task, marks=pytest.mark.slow) for task in [*EXAMPLES][1:])])
def test_trainings_killed_at_random_moments_go_on_to_the_bit(tmp_path, words_file, task):
    words_file.write_text("".join(f"{EXAMPLES[task](word)}\n" for word in words_file.read_text().split()))
    kills, steps = (20, 8000) if faults.LONG else (3, 1000)
    found = faults.chain_of_kills(tmp_path, words_file, kills, steps, 3, ["--size", "12", "--embedding", "6", "--task", task])
    assert found.survived == found.tried >= kills - 1
    assert found.equal == 1


def test_the_lock_names_its_holder_and_dies_with_it(saved, lmgen):
    """While a process trains in a directory another one ends with exit code 2; after kill -9 the directory is free."""
    program = "import sys, time\nfrom pathlib import Path\nfrom lmgen.system import checkpoint, directories, lock\n"
    program += "with lock.locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    holder = subprocess.Popen([sys.executable, "-c", program, str(saved)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"by process {holder.pid}"), lock.locked(saved):
        pass
    code, _, err = lmgen("train", "--resume", saved)
    assert code == 2
    assert f"is being trained by process {holder.pid}" in err
    holder.kill()
    holder.communicate()
    with lock.locked(saved):
        assert (saved / "train" / "lock").read_text() == str(os.getpid())

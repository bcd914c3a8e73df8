"""Surroundings: no home, no locale, no name, no network, any umask; lmgen works and leaves what it should."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import pytest

import lmgen as library
from lmgen.cli.main import cli
from lmgen.errors import InputError
from lmgen.system import cache, checkpoint, directories

ROOT = Path(library.__file__).resolve().parent.parent
TRAIN = "train words.txt --cell ngram -o m"


def run(*words: str, code: int = 0, **options) -> subprocess.CompletedProcess:
    done = subprocess.run([sys.executable, "-m", "lmgen", *words], capture_output=True, text=True, **options)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_an_empty_environment_will_do(words_file):
    """As under env -i: no HOME, no PATH, no LANG."""
    for words in (TRAIN, "sample m -n 2", "score m words.txt", "doctor", "train words.txt --steps 2 --size 4 -o net"):
        run(*words.split(), env={"PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("home", ["missing/home", "full", "words.txt", "", "relative"])
def test_a_home_that_cannot_be_written_will_do(tmp_path, words_file, home):
    Path("full").mkdir(mode=0o500)
    at = {"": "", "relative": "relative"}.get(home, str(tmp_path / home))
    if home == "missing/home":
        at = "/proc/nothing"
    run(*TRAIN.split(), env={"PYTHONPATH": str(ROOT), "HOME": at, "TMPDIR": str(tmp_path)})
    assert not Path("relative").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_a_name_or_a_home_works_in_a_temporary_cache(tmp_path, words_file):
    program = """
import os, sys, tempfile
from lmgen.cli import main as cli
def call(*words):
    sys.argv = ["lmgen", *words]
    try:
        cli.main()
    except SystemExit as end:
        return end.code
def both(name):
    counts = call("train", "words.txt", "--cell", "ngram", "-o", f"{name}-grams")
    trains = call("train", "words.txt", "--steps", "2", "--size", "4", "-o", f"{name}-net")
    return counts or trains or call("sample", f"{name}-net")
assert both("first") == 0  # what has to be imported may lie where only root can read
os.setgroups([]), os.setgid(54321), os.setuid(54321)
for name in ("XDG_CACHE_HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "JAX_COMPILATION_CACHE_DIR"):
    os.environ.pop(name, None)
os.environ["HOME"], tempfile.tempdir = "/nonexistent", sys.argv[0] and os.environ["PLACE"]
sys.exit(both("second"))
"""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        Path(place, "words.txt").write_text(words_file.read_text())
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PLACE": place}
        done = subprocess.run([sys.executable, "-c", program], cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        made = Path(place, "lmgen-of-54321")
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        assert list(made.glob("corpora/*.ids"))


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The temporary folder of a user without a home."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, "/proc/nothing")
    return tmp_path / "tmp"


def test_users_without_a_home_have_a_temporary_cache_each(temporary, monkeypatch):
    folders = [cache.folder("corpora"), cache.folder("corpora")]
    assert folders[0] == folders[1]
    assert folders[0].parent.parent == temporary
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # the first folder is not theirs, and neither is the new one by its owner
    other = cache.folder("corpora")
    assert other not in folders
    assert other.parent == temporary


def test_a_temporary_cache_that_is_a_link_is_not_followed(temporary, tmp_path):
    """Anyone may put one into /tmp."""
    usual = cache.folder("corpora").parent
    usual.rename(tmp_path / "theirs")
    usual.symlink_to(tmp_path / "theirs")
    found = cache.folder("compiled")
    assert found.parent == temporary
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["corpora"]


# ---- sockets and files ---------------------------------------------------------------------------------------------------

WATCHING = """
import sys
seen = []
def watch(event, arguments):
    changes = ("os.mkdir", "os.rename", "os.remove", "os.symlink", "subprocess.Popen", "os.exec")
    if event.startswith("socket.") or event in changes:
        seen.append((event, arguments[:1]))
    if event == "open" and (isinstance(arguments[1], str) and set("wax+") & set(arguments[1]) or arguments[2] & 3):
        seen.append((event, arguments[:2]))
sys.addaudithook(watch)
"""


def watched(program: str, **options) -> str:
    """Run a program in a process that writes no bytecode; returns what it wrote, opened a socket to, or started."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", f"{WATCHING}{program}\nfor one in seen: print(one, file=sys.stderr)"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})},
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_importing_and_every_help_open_no_socket_and_write_nothing():
    """Nor do they import JAX."""
    names = [[], *([name] for name in cli.commands), ["corpus", "check"], ["corpus", "write"], ["arpa", "read"], ["--version"]]
    program = (
        "import lmgen, lmgen.cli.main\n"
        f"for words in {names!r}:\n"
        "    try: lmgen.cli.main.cli.main([*words, *(['--help'] if words != ['--version'] else [])], 'lmgen')\n"
        "    except SystemExit: pass\n"
        "assert not {'jax', 'numpy', 'rich', 'socket', 'ssl', 'urllib.request'} & sys.modules.keys()"
    )
    assert watched(program) == ""
    assert not [path for path in Path().rglob("*") if path.is_file()]


def test_the_watching_can_fail():
    assert "open" in watched("open('x', 'w').close()")
    assert "socket" in watched("import socket; socket.socket().close()")


def test_training_and_using_a_model_open_no_socket(words_file):
    """There are no downloads: whatever lmgen reads is a file of yours, or shipped with it."""
    program = (
        "import lmgen\n"
        "m = lmgen.train('words.txt', output='m', steps=2, size=4, embedding=4, batch=2, window=4)\n"
        "m.sample(2); m.evaluate('words.txt'); list(m.score(['a'])); lmgen.train('cities', output='n', cell='ngram', order=2)\n"
        "seen = [one for one in seen if one[0].startswith('socket.')]"
    )
    assert watched(program) == ""


# ---- names and permissions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a/b", "../up", ".hidden", "-rf", "--force", "a\nb", "\x1b[31m", "\udcff", "é" * 300, "...", "", "\0"]
)
def test_the_name_of_a_run_is_safe_whatever_its_text_is_called(name):
    safe = directories.safe_name(name)
    assert 0 < len(safe.encode()) <= 100
    assert not set(safe) & set("/\\\0\n\x1b")
    assert safe[0] not in ".-"
    assert safe.isprintable()


def test_an_arpa_file_takes_the_next_free_name_too(lmgen, words_file):
    lmgen("train", words_file, "--cell", "ngram", "--order", 2)
    lmgen("arpa", "write", "words", "-o", "words.arpa")
    before = Path("checkpoints/words/model.safetensors").read_bytes()
    for expected in ("words-2", "words-3"):
        assert expected in lmgen("arpa", "read", "words.arpa")[2]
    assert Path("checkpoints/words/model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    ["compress M words.txt -o taken", "decompress M words.lmz -o taken", "arpa write M -o taken", "corpus write names -o taken"],
)
def test_no_command_overwrites_a_file(lmgen, words_file, words):
    pytest.importorskip("constriction")
    lmgen("train", words_file, "--cell", "ngram", "--order", 2, "-o", "M")
    lmgen("compress", "M", "words.txt", "-o", "words.lmz")
    Path("taken").write_text("mine")
    code, _, err = lmgen(*words.split())
    assert code == 2
    assert "choose another --output" in err
    assert Path("taken").read_text() == "mine"


@pytest.mark.parametrize(("mask", "files", "folders"), [(0o027, 0o640, 0o750), (0o002, 0o664, 0o775), (0o077, 0o600, 0o700)])
def test_permissions_follow_the_umask_and_caches_are_private(words_file, mask, files, folders):
    before = os.umask(mask)
    try:
        library.train(words_file, output="new/m", steps=2, size=4, embedding=4, batch=2, window=4)
    finally:
        os.umask(before)
    made = [Path("new"), *Path("new").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {folders}
    kept = [Path(".cache/lmgen"), *Path(".cache/lmgen").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o700}


def test_a_cache_that_others_may_read_is_closed():
    Path(".cache/lmgen/corpora").mkdir(parents=True, mode=0o755)
    assert stat.S_IMODE(cache.folder("corpora").stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(".cache/lmgen").stat().st_mode) == 0o700


def lmgen_under(environment: dict[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lmgen", *map(str, words)], capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_64_bits_of_jax_change_nothing(words_file):
    """The same weights, and text comes of them; from Python a sentence says what to unset."""
    options = ["--steps", "4", "--size", "4", "--embedding", "4", "--batch", "2", "--window", "4", "--precision", "f32", "-q"]
    for bits in ("0", "1"):
        assert lmgen_under({"JAX_ENABLE_X64": bits}, "train", words_file, *options, "-o", bits).returncode == 0
    assert lmgen_under({"JAX_ENABLE_X64": "1"}, "sample", "1", "-n", "3").returncode == 0
    weights = [checkpoint.read_model(Path(bits))[0] for bits in ("0", "1")]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    with jax.enable_x64(True), pytest.raises(InputError, match="unset JAX_ENABLE_X64"):
        library.load("0")
    with jax.enable_x64(True), pytest.raises(InputError, match="unset JAX_ENABLE_X64"):
        library.train(words_file, steps=1)


def test_a_device_that_is_not_there_is_a_sentence(model_path, words_file):
    """The model is not blamed for it, and nothing is written."""
    for words in (["train", words_file, "-o", "m"], ["sample", model_path], ["eval", model_path, words_file], ["doctor"]):
        done = lmgen_under({"JAX_PLATFORMS": "cuda"}, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("lmgen: JAX finds no device here for JAX_PLATFORMS='cuda': unset it")
        assert len(done.stderr.splitlines()) == 1
    assert not Path("m").exists()

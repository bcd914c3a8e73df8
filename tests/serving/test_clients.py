"""Real clients, over a real connection: the package openai, and lm-evaluation-harness."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import lmgen

served = pytest.importorskip("served", exc_type=ModuleNotFoundError)

from lmgen.serving.settings import Settings  # noqa: E402

KEY = "a-key-for-tests-alone"


@pytest.fixture(scope="module")
def address(model_path):
    """The URL of a server with a key."""
    with served.running({"words": lmgen.load(model_path, "f32")}, Settings(key=KEY)) as address:
        yield address


@pytest.fixture
def openai(address):
    package = pytest.importorskip("openai")
    with package.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_openai_lists_the_models(openai):
    (model,) = openai.models.list().data
    assert (model.id, model.object) == ("words", "model")
    assert openai.models.retrieve("words").id == "words"


def test_openai_completes(openai, model):
    answer = openai.completions.create(model="words", prompt="ba", n=3, seed=5, max_tokens=30, echo=True, logprobs=2)
    assert answer.object == "text_completion"
    assert [choice.text for choice in answer.choices] == [one.text for one in model.sample(3, prompt="ba", seed=5, max_length=30)]
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) == len(choice.logprobs.text_offset)
    assert answer.usage.prompt_tokens == 2
    assert answer.usage.total_tokens == 2 + answer.usage.completion_tokens


def test_openai_streams(openai, model):
    stream = openai.completions.create(
        model="words", prompt="ba", seed=5, stream=True, stream_options={"include_usage": True}, extra_body={"min_p": 0.05}
    )
    *parts, last = stream
    (one,) = model.sample(1, prompt="ba", seed=5, min_p=0.05)
    assert "ba" + "".join(part.choices[0].text for part in parts) == one.text
    assert parts[-1].choices[0].finish_reason == "stop"
    assert last.usage.completion_tokens == one.symbols


def test_openai_understands_the_errors(openai, address):
    package = pytest.importorskip("openai")
    with pytest.raises(package.NotFoundError, match="there is no model 'nix'"):
        openai.completions.create(model="nix", prompt="a")
    with pytest.raises(package.BadRequestError, match="temperature: -1"):
        openai.completions.create(model="words", prompt="a", temperature=-1)
    stranger = package.OpenAI(base_url=f"{address}/v1", api_key="another", max_retries=0)
    with stranger, pytest.raises(package.AuthenticationError, match="needs its key"):
        stranger.models.list()


ROLLING = """
task: rolling
dataset_path: json
dataset_kwargs: {data_files: {test: pages.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: page
metric_list: [{metric: byte_perplexity}]
"""
CHOOSING = """
task: choosing
dataset_path: json
dataset_kwargs: {data_files: {test: choices.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{word}}"
doc_to_choice: "{{[good, bad]}}"
doc_to_target: 0
target_delimiter: ""
metric_list: [{metric: acc}]
"""


@pytest.mark.oracle
def test_lm_evaluation_harness_measures_what_lmgen_measures(address, model, tmp_path):
    """Its perplexity of a text is that of lmgen eval, and it chooses the likelier word."""
    pytest.importorskip("lm_eval")
    words = [one.text for one in model.sample(40, seed=3) if one.text]
    pages = ["".join(f"{word}\n" for word in words[k : k + 10]) for k in range(0, len(words), 10)]
    choices = [{"word": word[:2], "good": f"{word[2:]}\n", "bad": f"{word[:1:-1]}kk\n"} for word in words if len(word) > 3]
    for name, rows in (("pages", [{"page": page} for page in pages]), ("choices", choices)):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "rolling.yaml").write_text(ROLLING)
    (tmp_path / "choosing.yaml").write_text(CHOOSING)
    (tmp_path / "all.txt").write_text("".join(pages))
    how = {"model": "words", "base_url": f"{address}/v1/completions", "max_length": 4096, "num_concurrent": 4, "auth_token": KEY}
    arguments = ",".join(f"{name}={value}" for name, value in how.items())
    command = (
        f"-m lm_eval run --model local-completions --model_args {arguments} --tasks rolling,choosing --include_path . -o found"
    )
    done = subprocess.run(
        [sys.executable, *command.split()],
        cwd=tmp_path,
        env={"OPENAI_API_KEY": KEY, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ((found,),) = [[json.loads(path.read_text())["results"]] for path in tmp_path.glob("found/**/*.json")]
    assert found["rolling"]["byte_perplexity,none"] == pytest.approx(
        model.evaluate(tmp_path / "all.txt").byte_perplexity, rel=1e-6
    )
    right = sum(nats(model, one["word"], one["good"]) < nats(model, one["word"], one["bad"]) for one in choices)
    assert found["choosing"]["acc,none"] == pytest.approx(right / len(choices))


def nats(model, word, end):
    """−ln p of a word that ends so, its EOS included."""
    return model.score((word + end).removesuffix("\n")).nats

"""Words of text without spaces: cut by a library, nothing lost, and offered where a text needs it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmgen
from lmgen.data.vocab import EOS, UNITS, Vocab
from lmgen.data.writing import segments
from lmgen.errors import InputError

LIBRARIES = {code: pytest.importorskip(one.library, reason="words") for code, one in segments.SEGMENTERS.items()}
TEXTS = {
    "zh": "黛玉笑道：“我們 今天去　看林妹妹。”\t他说 hello, world!",
    "ja": "今日は天気がいいので、 散歩に行きました。カメラも持って。",
    "th": "วันนี้อากาศดีมาก ฉันไปเดินเล่นที่สวน",
}
prose = st.text("红楼梦我们今日は天気วันนี้。，、 \t\u3000ab1é\ud800🦊", max_size=60)


@pytest.mark.parametrize("language", TEXTS)
def test_words_joined_are_the_text(language):
    words = segments.words(TEXTS[language], language)
    assert "".join(words) == TEXTS[language]
    assert len(words) >= 8
    assert all(word.isspace() or not any(map(str.isspace, word)) for word in words)


@settings(deadline=None)
@given(prose, st.sampled_from([*TEXTS]))
def test_decoding_gives_the_text_back(text, language):
    unit = f"word-{language}"
    vocab = Vocab.of(Counter([*UNITS[unit].split(text), "x"]), unit)
    assert vocab.decode([EOS, *vocab.encode(text)], "") == text
    assert [text[a:b] for a, b in vocab.places(text)] == vocab.split(text)


def test_words_are_those_of_the_language():
    assert segments.words("我来到北京清华大学", "zh") == ["我", "来到", "北京", "清华大学"]
    assert segments.words("今日は天気です。", "ja") == ["今日は", "天気です。"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (TEXTS["zh"], "zh"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", "ja"),
        (TEXTS["th"], "th"),
        ("ພາສາລາວແມ່ນພາສາທີ່ໃຊ້ໃນປະເທດລາວ", ""),
        ("我们 今天 去 看 林 妹妹 。", None),
        ("the quick brown fox, 我们", None),
        ("오늘은 날씨가 좋아서 산책을 갔습니다", None),
        ("http://example.org/a/very/long/address", None),
        ("", None),
    ],
)
def test_text_without_spaces_is_recognised(text, language):
    assert segments.language_of(Counter(text.split()).items()) == language


def test_a_training_on_such_words_says_so_and_offers_to_cut_them(lmgen):
    Path("text").write_text("".join(f"从前有座山，山里有座庙，庙里有个老和尚在讲故事，第{k}回。\n" for k in range(40)), "utf-8")
    code, _, err = lmgen("train", "text", "--cell", "ngram", "--order", 2, "--unit", "word")
    assert code == 0
    assert "written without spaces between words" in err
    assert "--segment zh" in err
    code, _, err = lmgen("train", "text", "--cell", "ngram", "--order", 2, "--segment", "zh", "-o", "words")
    assert code == 0
    assert "without spaces" not in err
    assert "--segment zh cuts it into words" in lmgen("corpus", "check", "text")[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    lines = [f"{TEXTS['zh']}第{k}回，{'宝玉' if k % 2 else '黛玉'}又笑了。" for k in range(1000)]
    return lmgen.train(lines, cell="ngram", order=3, segment="zh", output=tmp_path_factory.mktemp("model") / "words")


def test_a_model_of_such_words_writes_scores_and_compresses(model):
    assert model.lm.vocab.unit == "word-zh"
    again = lmgen.load(model.path)
    line = f"{TEXTS['zh']}第7回，宝玉又笑了。"
    score = again.score(line)
    assert "".join(symbol for symbol, _ in score.symbols) == line
    assert "宝玉" in [symbol for symbol, _ in score.symbols]
    assert again.sample(1, prompt="黛玉笑", seed=1)[0].text.startswith("黛玉笑")
    assert "宝玉" in again.sample(1, contains="宝玉", seed=2)[0].text
    pytest.importorskip("constriction")
    from lmgen.evaluation import compression

    content = f"{line}\n没有 见过的字 ok\n".encode()
    assert compression.decompress(again.lm, compression.compress(again.lm, content)) == content


def test_eval_prints_the_perplexity_of_characters_beside_that_of_words(model, lmgen):
    code, out, err = lmgen("eval", model.path, "--no-baselines")
    assert code == 0, err
    rows = dict(line.strip().split("  ", 1) for line in out.splitlines()[1:])
    assert "(words, and an EOS" in rows["perplexity"]
    assert float(rows["character perplexity"].split()[0]) < float(rows["perplexity"].split()[0])
    assert "word perplexity" not in rows


def test_no_export_takes_words_that_a_library_cuts(model, tmp_path):
    with pytest.raises(InputError, match=r"reads words that a library cuts \(--segment\), which --format numpy does not hold"):
        model.export(tmp_path / "x.py", format="numpy")


def test_blanks_in_such_words(tmp_path):
    lines = [f"我们今天去看林妹妹{k}" for k in range(40)]
    model = lmgen.train(lines, segment="zh", direction="both", steps=2, size=8, output=tmp_path / "holes")
    assert all(one.text.startswith("我们今天") for one in model.fill("我们今天___看林妹妹", 2))


@pytest.mark.parametrize(
    ("options", "why"),
    [({"unit": "char"}, "--segment cuts a text into words, and --unit char"), ({"unk_token": "<unk>"}, "leave out --unk-token")],
)
def test_what_contradicts_the_words_is_refused(options, why):
    with pytest.raises(InputError, match=why):
        lmgen.train(["我们今天去看林妹妹"] * 30, segment="zh", cell="ngram", **options)


@pytest.mark.parametrize("language", TEXTS)
def test_a_missing_library_of_words_is_named(language):
    library = segments.SEGMENTERS[language].library
    code = (
        f"import sys; sys.modules[{library!r}] = None; from lmgen.data.writing import segments; segments.words('x', {language!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith(f"need {library}, which is not installed: pip install 'lmgen[words]'\n")

"""A text in another encoding is refused with the likeliest by name, and never read by a guess."""

from __future__ import annotations

import codecs
import re
import sys
from pathlib import Path

import pytest

from lmgen.data.reading import Text, whole
from lmgen.errors import InputError

VERSE = {
    "gb18030": "寒随穷律变，春逐鸟声开。初风飘带柳，晚雪间花梅。碧林青旧竹，绿沼翠新苔。\n",
    "big5": "紅樓夢是一部章回小說，作者是曹雪芹。賈寶玉和林黛玉的故事流傳至今。\n",
    "cp932": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "cp1251": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n",
    "cp1252": "Il était une fois un garçon qui s'appelait Noël, à côté d'une forêt où naît la rivière.\n",
    "cp874": "วันนี้อากาศดีมาก ฉันไปเดินเล่นที่สวนกับเพื่อนของฉัน\n",
}


def refused(content: bytes, **options) -> str:
    Path("text").write_bytes(content)
    with pytest.raises(InputError) as told:
        list(Text([Path("text")], **options))
    return str(told.value)


@pytest.mark.parametrize("encoding", ["utf-8", "auto"])
@pytest.mark.parametrize("name", VERSE)
def test_the_likeliest_encoding_is_named_with_what_it_gives(name, encoding):
    pytest.importorskip("charset_normalizer")
    said = refused(VERSE[name].encode(name) * 3, encoding=encoding)
    (found,) = re.findall(r"add --encoding (\S+), if that reads right", said)
    assert codecs.lookup(found) == codecs.lookup(name)
    assert re.search(r"\S*[^\x00-\x7f]\S*", VERSE[name])[0][:5] in said
    assert list(whole(Text([Path("text")], encoding=found))) == [VERSE[name].removesuffix("\n")] * 3


def test_damaged_utf_8_is_no_other_encoding():
    content = (VERSE["gb18030"] * 5).encode()
    assert "most of it is UTF-8, so these bytes are damaged" in refused(content[:100] + b"\xff" + content[100:])


def test_utf_8_that_was_called_something_else_is_recognised():
    assert "it is UTF-8: leave out --encoding" in refused((VERSE["gb18030"] * 5).encode(), encoding="ascii")


def test_without_the_detector_the_way_to_get_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    assert "give its --encoding, such as latin-1 (pip install 'lmgen[encodings]'" in refused(b"zo\xe9\n")


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-8"])
def test_auto_reads_what_a_byte_order_mark_names(codec):
    Path("text").write_bytes("\ufeffémile\nzoé\n".encode(codec))
    text = Text([Path("text")], encoding="auto")
    assert list(whole(text)) == ["émile", "zoé"]
    assert len(text.notes) == 1

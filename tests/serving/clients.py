"""What a client makes of the answers of a server."""

from __future__ import annotations

import json
from typing import Any


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream, which ends as it should."""
    *lines, last, empty = text.split("\n\n")
    assert (last, empty) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def joined(parts: list[dict[str, Any]], index: int) -> tuple[str, Any, str | None]:
    """The text of a choice, its log-probabilities and why it ended, from the events of a stream."""
    mine = [choice for part in parts for choice in part["choices"] if choice["index"] == index]
    assert all(choice["finish_reason"] is None for choice in mine[:-1])
    judged = [choice["logprobs"] for choice in mine if choice["logprobs"]]
    logprobs = {name: [value for one in judged for value in one[name]] for name in judged[0]} if judged else None
    return "".join(choice["text"] for choice in mine), logprobs, mine[-1]["finish_reason"]


def message(answer: Any) -> str:
    """The sentence of an error, which is one."""
    error = answer.json()["error"]
    assert error["message"]
    assert "\n" not in error["message"]
    assert not error["message"].endswith(".")
    assert {"message", "type", "param", "code"} == set(error)
    return error["message"]

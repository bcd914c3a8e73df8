"""Who may ask the server, and for how much."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Requests name `localhost`, an IP address or one of `hosts` as their host, and come from no page of another origin but
    `origins`. With a `key`, whoever asks has it. The other fields bound a request, and all requests together.
    """

    key: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_body: int = 1 << 20  # bytes
    max_prompts: int = 64  # prompts, or texts, of a request …
    max_sequences: int = 128  # … and prompts times n
    max_symbols: int = 1 << 17  # of all its sequences, prompts included
    max_logprobs: int = 20
    max_length: int = 4096  # symbols written for a sequence
    queue: int = 1024  # sequences that are computed or wait
    seconds: float = 120.0  # for a request, and for what is in flight when the server ends
    body_seconds: float = 10.0  # in which the body of a request arrives

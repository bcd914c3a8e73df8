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
    max_prompts: int = 64  # prompts, or texts to predict for, in a request …
    max_sequences: int = 128  # … and prompts times n
    max_length: int = 4096  # symbols written behind a prompt
    max_logprobs: int = 20
    max_numbers: int = 1 << 19  # symbols of a request, prompts included, times 1 + logprobs
    queue: int = 1024  # texts that are written or wait
    max_requests: int = 512  # in flight
    seconds: float = 120.0  # for a request, and for those in flight when the server ends
    body_seconds: float = 10.0  # in which the body of a request arrives

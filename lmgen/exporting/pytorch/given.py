"""What an exported model is given beside its settings."""

from __future__ import annotations

from typing import Any

network: Any = None

"""What `speechft evaluate` writes and others read: one record per result, and the whole grid."""

from __future__ import annotations

from typing import Final

RESULTS: Final = "results.jsonl"
GRID: Final = "grid.jsonl"

"""The protocols by their names in settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from speechft.probing.protocol import Protocol
from speechft.probing.s3prl import S3PRL
from speechft.tasks import ProtocolName

PROTOCOLS: Final[Mapping[ProtocolName, Protocol]] = {p.name: p for p in (Protocol(), S3PRL())}

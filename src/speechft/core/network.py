"""Errors of the HTTP clients below huggingface_hub, which differ between its versions."""

from __future__ import annotations

_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


def is_network_error(error: BaseException) -> bool:
    """Tell an HTTP client's own error, such as a refused connection, from all others."""
    return any(kind.__module__.split(".")[0] in _CLIENTS for kind in type(error).__mro__)

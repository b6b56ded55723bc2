from __future__ import annotations

from speechft.core.errors import is_network_error


def test_a_client_s_own_error_is_an_error_of_the_network():
    kind = type("ProxyError", (Exception,), {"__module__": "httpx2._exceptions"})
    assert is_network_error(kind())
    assert is_network_error(type("Ours", (kind,), {})())
    assert not is_network_error(ValueError())

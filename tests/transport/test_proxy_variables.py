"""Proxies as the environment names them: which server goes through one, and which does not."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import pytest

from mixtura import RejectedError
from mixtura.transport.address import EnvironmentProxies


@pytest.fixture(autouse=True)
def _no_other_proxies(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


LEFT_OUT = [
    ("*", "http://api.example.com/v1"), ("example.com", "http://api.example.com/v1"),
    (".example.com", "http://api.example.com/v1"), ("*.example.com", "http://api.example.com/v1"),
    (" other , EXAMPLE.com ", "http://api.example.com/v1"),
    ("api.example.com:80", "http://api.example.com/v1"),
    ("example.com:8080", "http://api.example.com:8080/v1"),
    ("10.1.2.3", "http://10.1.2.3:9/v1"), ("10.0.0.0/8", "http://10.1.2.3:9/v1"),
    ("10.*", "http://10.1.2.3:9/v1"), ("[::1]", "http://[::1]:9/v1"), ("fd00::/8", "http://[fd00::2]/v1"),
]  # fmt: skip
NOT_LEFT_OUT = [
    ("other.com", "http://api.example.com/v1"), ("ample.com", "http://api.example.com/v1"),
    ("api.example.com:81", "http://api.example.com/v1"), ("10.0.0.0/8", "http://11.1.2.3/v1"),
    ("10.0.0.0/8", "http://api.example.com/v1"), (",, ,", "http://api.example.com/v1"),
    ("10.0.0.0/99", "http://10.1.2.3/v1"), ("*.example.com", "http://example.org/v1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "url", "goes"),
    [(*one, False) for one in LEFT_OUT] + [(*one, True) for one in NOT_LEFT_OUT],
)
def test_a_server_is_left_out_in_every_form_in_which_people_write_it(names, url, goes, monkeypatch):
    monkeypatch.setenv("http_proxy", " 127.0.0.1:8080 ")
    monkeypatch.setenv("no_proxy", names)

    found = EnvironmentProxies().proxy_for(urlsplit(url))

    assert (found and found.host_and_port) == ("127.0.0.1:8080" if goes else None)


@pytest.mark.parametrize("value", ["http://127.0.0.1:99999", "http://:9", "no address"])
def test_a_variable_that_names_no_proxy_is_told_by_its_name(value, monkeypatch):
    monkeypatch.setenv("https_proxy", value)

    with pytest.raises(RejectedError, match="HTTPS_PROXY is not the address of an HTTP proxy"):
        EnvironmentProxies().proxy_for(urlsplit("https://api.example.com/v1"))

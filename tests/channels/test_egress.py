"""The guard between user-chosen URLs and our own network."""

import ipaddress
import socket
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.channels import egress, http
from notifier.channels.webhook import Webhook
from notifier.outcome import Accepted, Rejected, RetryLater
from notifier.words import Channel
from tests.channels.conftest import always, make_message
from tests.channels.http_server import HttpServer

INSIDE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "0",
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "2852039166",
    "172.16.0.1",
    "192.0.0.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::808:808]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[2001:db8::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "localhost",
    "LOCALHOST.",
]


@pytest.mark.parametrize("host", INSIDE)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_address_of_our_own_network_is_reached(host: str, scheme: str) -> None:
    with HttpServer() as server:
        provider = Webhook()
        url = f"{scheme}://{host}:{server.port}/"
        ((_, outcome),) = provider.send([make_message(Channel.WEBHOOK, address=url)], always)
        assert server.connections == 0
    if isinstance(outcome, RetryLater):  # a spelling this resolver does not know
        assert outcome.code == "resolve"
    else:
        assert outcome == Rejected(
            "forbidden_address", "the host has an address that is not public"
        )


@pytest.mark.parametrize("ip", ["8.8.8.8", "1.1.1.1", "192.0.1.1", "2606:4700::1111", "2a00::1"])
def test_public_addresses_pass(ip: str) -> None:
    assert egress.is_allowed(ipaddress.ip_address(ip))


@given(st.ip_addresses())
def test_whatever_python_calls_private_is_never_allowed(ip: egress.IP) -> None:
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        assert not egress.is_allowed(ip)


def answers(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Make the resolver give these answers for `hook.test`, one a call; returns the asked."""
    waiting = list(answers)
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolver(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host != "hook.test" or more.get("flags"):
            return real(host, port, *args, **more)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in waiting.pop(0)]

    monkeypatch.setattr("notifier.channels.wire.socket.getaddrinfo", resolver)
    return asked


def test_one_private_answer_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ["8.8.8.8", "127.0.0.1"])
    with pytest.raises(egress.Forbidden):
        egress.vetted("hook.test", 80, time.monotonic() + 1)


def test_a_name_is_resolved_once_and_the_judged_address_is_used(
    http_server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    provider = Webhook(allowed=egress.parse_networks("127.0.0.1/32"))
    url = http_server.url("/", "hook.test")
    for _ in range(2):
        ((_, outcome),) = provider.send([make_message(Channel.WEBHOOK, address=url)], always)
        assert isinstance(outcome, Accepted)
    assert asked == ["hook.test"]
    assert http_server.requests[0].headers["host"] == f"hook.test:{http_server.port}"
    http_server.hang_up()
    time.sleep(0.05)
    ((_, outcome),) = provider.send([make_message(Channel.WEBHOOK, address=url)], always)
    assert isinstance(outcome, Rejected)  # rebound to an address outside the allowed network
    provider.close()


def test_a_resolver_that_hangs_keeps_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def slow(*args: Any, **more: Any) -> Any:
        if not more.get("flags"):
            time.sleep(1)
        return real(*args, **more)

    monkeypatch.setattr("notifier.channels.wire.socket.getaddrinfo", slow)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        egress.vetted("slow.test", 80, began + 0.2)
    assert time.monotonic() - began < 0.5
    time.sleep(1)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "http:///path",
        "http://user@example.com/",
        "http://user:word@example.com/",
        "http://@example.com/",
        "http://example.com:99999/",
        "http://exa mple.com/",
        "http://example.com/a\r\nX: y",
        "http://example.com\\@127.0.0.1/",
        "http://[::1/",
    ],
)
def test_urls_that_are_more_or_less_than_a_place_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        http.target(url)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://Example.com", http.Target(False, "example.com", 80, "/", "example.com")),
        (
            "https://example.com:8443/ä?q=ü&r=1#part",
            http.Target(True, "example.com", 8443, "/%C3%A4?q=%C3%BC&r=1", "example.com:8443"),
        ),
        ("http://[2a00::1]:80/", http.Target(False, "2a00::1", 80, "/", "[2a00::1]")),
        (
            "https://bücher.example/",
            http.Target(True, "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example"),
        ),
    ],
)
def test_urls_become_targets(url: str, target: http.Target) -> None:
    assert http.target(url) == target

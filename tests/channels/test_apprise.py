"""Apprise itself, in its own process, against a real server on loopback."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.channels import apprise_services, egress
from notifier.channels.apprise_adapter import AppriseAdapter, Child, judge
from notifier.channels.apprise_child import Guard, mask
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.words import Channel
from tests.channels.conftest import always, make_message
from tests.channels.http_server import HttpServer
from tests.channels.stands import Stand
from tests.channels.tricks import DRIP, HANG, RESET

LOOPBACK = {
    "NOTIFIER_APPRISE_SERVICES": "json,tgram",
    "NOTIFIER_APPRISE_ALLOW_NETWORKS": "127.0.0.1/32",
}


@contextmanager
def stand(_: Path) -> Iterator[Stand]:
    with HttpServer() as server:
        settings = {"SERVICES": "json", "ALLOW_NETWORKS": "127.0.0.0/8"}
        environment = {f"NOTIFIER_APPRISE_{name}": value for name, value in settings.items()}
        yield Stand(environment, lambda: len(server.requests), json_url(server))


@pytest.fixture
def provider() -> Iterator[AppriseAdapter]:
    made = AppriseAdapter.from_environment(LOOPBACK)
    assert made is not None
    yield made
    made.close()


def outcome_of(provider: AppriseAdapter, address: str, **fields: object) -> Outcome:
    message = make_message(Channel.APPRISE, address=address, **fields)
    ((_, outcome),) = provider.send([message], always)
    return outcome


def json_url(server: HttpServer, path: str = "/") -> str:
    return server.url(path).replace("http://", "json://")


def children(provider: AppriseAdapter) -> list[int]:
    return [child._process.pid for child in provider._idle]


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_message_arrives_with_its_links(
    http_server: HttpServer, provider: AppriseAdapter
) -> None:
    parts = {"title": "Due <soon>", "text": "R&D: 3 > 2\nÄ", "url": "https://example.com/t"}
    outcome = outcome_of(
        provider,
        json_url(http_server, "/hook?+X-Own=1"),
        parts=parts,
        acknowledge_url="https://notify.example.com/a/t",
    )
    assert outcome == Accepted()
    (request,) = http_server.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.headers["x-own"] == "1"
    sent = json.loads(request.body)
    assert sent["title"] == "Due <soon>"
    assert sent["message"] == (
        "R&D: 3 > 2\nÄ\nhttps://example.com/t\nAcknowledge: https://notify.example.com/a/t"
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, Rejected),
        (404, Rejected),
        (410, Rejected),
        (408, RetryLater),
        (429, RetryLater),
        (503, RetryLater),
        (500, Unsure),
        (502, Unsure),
    ],
)
def test_a_failure_keeps_the_reason_that_apprise_logged(
    http_server: HttpServer, provider: AppriseAdapter, status: int, kind: type[Outcome]
) -> None:
    outcome = outcome_of(provider, json_url(http_server, f"/status/{status}"))
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Accepted)
    assert "Failed to send JSON POST notification" in outcome.reason
    if isinstance(outcome, Unsure):
        assert outcome.reason.startswith(f"{status}: ")
    else:
        assert isinstance(outcome, Rejected | RetryLater)
        assert outcome.code == str(status)
    assert not getattr(outcome, "address_dead", False)
    assert len(http_server.requests) == 1


def test_reasons_of_calls_side_by_side_are_not_mixed(http_server: HttpServer) -> None:
    provider = AppriseAdapter.from_environment(LOOPBACK | {"NOTIFIER_APPRISE_CONCURRENCY": "4"})
    assert provider is not None
    statuses = [400, 401, 405, 429, 500, 503] * 5
    messages = [
        make_message(Channel.APPRISE, address=json_url(http_server, f"/status/{status}"))
        for status in statuses
    ]
    expected = {m.delivery_id: status for m, status in zip(messages, statuses, strict=True)}
    for message, outcome in provider.send(messages, always):
        status = expected[message.delivery_id]
        if isinstance(outcome, Unsure):
            assert status == 500
        else:
            assert isinstance(outcome, Rejected | RetryLater)
            assert outcome.code == str(status)
    assert 1 <= len(children(provider)) <= 4
    provider.close()


def test_a_word_of_the_address_makes_no_success_of_a_failure(
    http_server: HttpServer, provider: AppriseAdapter
) -> None:
    url = json_url(http_server, "/status/400?optional=yes&retry=3&wait=0")
    assert isinstance(outcome_of(provider, url), Rejected)
    assert len(http_server.requests) == 1


def test_what_never_left_is_tried_again(provider: AppriseAdapter) -> None:
    for address in ("json://127.0.0.1:1/", "json://nowhere.invalid/"):
        outcome = outcome_of(provider, address)
        assert isinstance(outcome, RetryLater)
        assert outcome.code == "not_sent"
        assert "Connection error" in outcome.reason


def test_what_left_and_was_not_answered_is_in_doubt(
    http_server: HttpServer, provider: AppriseAdapter
) -> None:
    outcome = outcome_of(provider, json_url(http_server, f"/line/{RESET}"))
    assert isinstance(outcome, Unsure)
    assert "Connection error" in outcome.reason


@pytest.mark.parametrize("trick", [HANG, DRIP])
def test_a_call_has_an_end_whatever_the_server_does(http_server: HttpServer, trick: str) -> None:
    provider = AppriseAdapter.from_environment(LOOPBACK | {"NOTIFIER_APPRISE_TIMEOUT_SECONDS": "3"})
    assert provider is not None
    assert isinstance(outcome_of(provider, json_url(http_server)), Accepted)
    (pid,) = children(provider)
    began = time.monotonic()
    outcome = outcome_of(provider, json_url(http_server, f"/body/{trick}?rto=600"))
    assert outcome == Unsure("no answer of Apprise: TimeoutError")
    assert 2.5 < time.monotonic() - began < 4
    assert children(provider) == []
    assert not is_alive(pid)
    assert isinstance(outcome_of(provider, json_url(http_server)), Accepted)
    provider.close()


def test_a_process_that_died_is_replaced(http_server: HttpServer, provider: AppriseAdapter) -> None:
    outcome_of(provider, json_url(http_server))
    (pid,) = children(provider)
    os.kill(pid, 9)
    time.sleep(0.1)
    assert isinstance(outcome_of(provider, json_url(http_server)), Accepted)
    assert children(provider) != [pid]


def test_nothing_is_left_when_it_is_closed(
    http_server: HttpServer, provider: AppriseAdapter
) -> None:
    outcome_of(provider, json_url(http_server))
    (pid,) = children(provider)
    assert is_alive(pid)
    provider.close()
    assert not is_alive(pid)


def test_a_process_ends_with_whoever_started_it() -> None:
    child = Child(["5", ""], time.monotonic() + 20)
    assert child._process.stdin
    child._process.stdin.close()
    assert child._process.wait(5) == 0
    child.end()


def test_a_process_knows_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_DATABASE_URL", "postgresql://user:password@db/notifier")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    child = Child(["5", ""], time.monotonic() + 20)
    inside = Path(f"/proc/{child._process.pid}/environ").read_text()
    assert sorted(line.partition("=")[0] for line in inside.split("\0") if line) == [
        "HOME",
        "LANG",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
    ]
    limits = Path(f"/proc/{child._process.pid}/limits").read_text().splitlines()
    (memory,) = [line.split()[3] for line in limits if line.startswith("Max address space")]
    assert memory == str(1 << 30)
    child.end()


# Where it may go


def test_nothing_in_our_network_is_reached(http_server: HttpServer) -> None:
    provider = AppriseAdapter.from_environment({"NOTIFIER_APPRISE_SERVICES": "json"})
    assert provider is not None
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f000001"):
        outcome = outcome_of(provider, f"json://{host}:{http_server.port}/")
        assert isinstance(outcome, Rejected), host
        assert outcome.code == "forbidden_address"
    assert http_server.connections == 0
    provider.close()


def test_a_redirect_leads_nowhere_else(http_server: HttpServer, provider: AppriseAdapter) -> None:
    http_server.headers = {"Location": f"http://127.0.0.2:{http_server.port}/"}
    for status in (302, 307):
        outcome = outcome_of(provider, json_url(http_server, f"/status/{status}"))
        assert isinstance(outcome, Rejected)
        assert outcome.code == "forbidden_address"
    assert len(http_server.requests) == 2


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("socket.connect", (None, ("10.0.0.1", 80))),
        ("socket.connect", (None, ("169.254.169.254", 80))),
        ("socket.connect", (None, ("::1", 80, 0, 0))),
        ("socket.connect", (None, ("::ffff:10.0.0.1", 80, 0, 0))),
        ("socket.connect", (None, ("fe80::1%eth0", 80, 0, 2))),
        ("socket.connect", (None, ("example.com", 80))),
        ("socket.connect", (None, "/run/dbus/system_bus_socket")),
        ("socket.connect", (None, b"\0abstract")),
        ("socket.sendto", (None, ("10.0.0.1", 514))),
        ("socket.sendmsg", (None, ("10.0.0.1", 514))),
        ("subprocess.Popen", ("sh", ["sh"], None, None)),
        ("os.system", (b"true",)),
        ("os.fork", ()),
        ("os.remove", ("/tmp/x", -1)),
        ("open", ("/etc/passwd", "r", os.O_RDONLY)),
        ("open", (os.__file__ + "/../../../../../../etc/passwd", "r", os.O_RDONLY)),
        ("open", (os.__file__, "w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)),
        ("open", (os.__file__, "r+", os.O_RDWR)),
    ],
)
def test_the_guard_refuses(event: str, arguments: tuple[object, ...]) -> None:
    guard = Guard(egress.parse_networks("127.0.0.0/8"))
    with pytest.raises(PermissionError):
        guard(event, arguments)
    assert guard.forbidden == event.startswith("socket.")


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("socket.connect", (None, ("93.184.216.34", 443))),
        ("socket.connect", (None, ("2606:2800:220:1::1", 443, 0, 0))),
        ("socket.connect", (None, ("127.0.0.1", 80))),
        ("socket.sendmsg", (None, None)),
        ("open", (os.__file__, "r", os.O_RDONLY | os.O_CLOEXEC)),
        ("open", (pytest.__file__, "rb", os.O_RDONLY)),
        ("open", (3, "r", os.O_RDONLY)),
        ("import", ("json", None, None, None, None)),
    ],
)
def test_the_guard_lets_pass(event: str, arguments: tuple[object, ...]) -> None:
    guard = Guard(egress.parse_networks("127.0.0.0/8"))
    guard(event, arguments)
    assert not guard.forbidden


LOCAL = ["dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"]


@pytest.mark.parametrize("service", [*LOCAL, "fcm", "vapid", "file", "http", "nonesuch"])
def test_a_service_that_is_not_of_the_network_is_refused_by_name(
    provider: AppriseAdapter, service: str
) -> None:
    expected = provider.check_address(Channel.APPRISE, f"{service}://secret")
    assert expected
    assert f"{service}://" in expected
    assert "secret" not in expected
    outcome = outcome_of(provider, f"{service}://secret")
    assert outcome == Rejected("invalid_address", expected)
    assert children(provider) == []


def test_a_service_that_the_setting_does_not_name_is_refused(provider: AppriseAdapter) -> None:
    outcome = outcome_of(provider, "jsons://example.com/")
    assert isinstance(outcome, Rejected)
    assert "NOTIFIER_APPRISE_SERVICES" in outcome.reason


def test_what_apprise_can_not_load_is_refused_in_its_words(provider: AppriseAdapter) -> None:
    outcome = outcome_of(provider, "tgram://not-a-token-0123456789/chat-0123456789")
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.address_dead) == ("invalid_address", False)
    assert "Telegram" in outcome.reason
    assert "0123456789" not in outcome.reason


# Secrets


def test_no_reason_holds_a_part_of_the_address(
    http_server: HttpServer, provider: AppriseAdapter
) -> None:
    secrets = ["s3cretUser", "p4ssw0rd", "T0ken-in-the-path", "k3yOfTheQuery"]
    user, password, token, key = secrets
    for port, path in ((http_server.port, "status/500"), (1, token)):
        url = f"json://{user}:{password}@127.0.0.1:{port}/{path}?-key={key}"
        for each in (url, f"{url}&format=nonsense-{token}"):
            outcome = outcome_of(provider, each)
            assert not isinstance(outcome, Accepted)
            assert not [secret for secret in secrets if secret in outcome.reason]
            assert outcome.reason


@given(
    st.lists(st.text("abcXYZ0189", min_size=8, max_size=40), min_size=1, max_size=5),
    st.sampled_from(["{}", "at {}.", "x{}y", "https://api/bot{}:sendMessage", "%2F{}%2F"]),
)
def test_masking_leaves_no_secret(parts: list[str], sentence: str) -> None:
    url = "tgram://" + "/".join(parts)
    for part in parts:
        assert part not in mask(sentence.format(part), url)
        assert part not in mask(sentence.format(part.lower()), url)


def test_masking_leaves_apprises_words() -> None:
    url = "json://user:pass@example.com/to/error?format=text"
    said = "Failed to send JSON notification to example.com: error=404."
    assert mask(said, url) == "Failed to send JSON notification to ***: ***=404."
    assert mask("Could not load json://u...r:p...s@e...m/t...r", url) == "Could not load json://***"


# Settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SERVICES", "discord,syslog"),
        ("SERVICES", "everything"),
        ("ALLOW_NETWORKS", "home"),
        ("CONCURRENCY", "17"),
        ("TIMEOUT_SECONDS", "26"),
    ],
)
def test_a_setting_that_can_not_work_is_named(variable: str, value: str) -> None:
    name = f"NOTIFIER_APPRISE_{variable}"
    with pytest.raises(SettingError, match=name):
        AppriseAdapter.from_environment(LOOPBACK | {name: value})


def test_it_is_off_until_services_are_named() -> None:
    assert AppriseAdapter.from_environment({}) is None
    every = AppriseAdapter.from_environment({"NOTIFIER_APPRISE_SERVICES": "all"})
    assert every is not None
    assert (
        every.check_address(Channel.APPRISE, "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o") is None
    )


def test_neither_settings_nor_addresses_load_the_package() -> None:
    program = (
        "import sys; from notifier.channels import addresses;"
        "from notifier.channels.apprise_adapter import AppriseAdapter;"
        "made = AppriseAdapter.from_environment({'NOTIFIER_APPRISE_SERVICES': 'all'});"
        "assert made.check_address('apprise', 'json://example.com/') is None;"
        "assert made.check() is None;"
        "print('apprise' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_the_services_are_those_of_apprise_that_speak_over_the_network() -> None:
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SURVEY], capture_output=True, text=True, check=True
    )
    over_the_network = set(json.loads(found.stdout))
    assert over_the_network >= apprise_services.NETWORK
    assert not apprise_services.NETWORK & {*LOCAL, "fcm", "vapid"}


SURVEY = """
import json, pathlib, re, sys
from apprise.manager_plugins import NotificationManager
found = []
for plugin in set(NotificationManager().plugins()):
    path = pathlib.Path(sys.modules[plugin.__module__].__file__)
    files = [path] if path.parent.name == "plugins" else path.parent.rglob("*.py")
    if plugin.enabled and any(re.search("requests[.]|smtplib", f.read_text()) for f in files):
        found += plugin.schemas(plugin)
print(json.dumps(found))
"""
"""The services whose plugin calls `requests` or `smtplib`."""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"sent": True, "made": True}, Accepted()),
        ({"made": False, "words": "no"}, Rejected("invalid_address", "no")),
        ({"status": 500, "words": "error=500"}, Unsure("500: error=500")),
        ({"left": True}, Unsure("Apprise gives no reason")),
        ({"left": False}, RetryLater("not_sent", "Apprise gives no reason")),
    ],
)
def test_what_apprise_says_is_an_outcome(answer: dict[str, object], expected: Outcome) -> None:
    usual = {"made": True, "sent": False, "status": None, "left": True, "forbidden": False}
    assert judge({**usual, "words": "", **answer}) == expected

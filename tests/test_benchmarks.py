"""`notifier bench`: what it says without a figure, and what a sink counts."""

import smtplib
from http.client import HTTPConnection

import pytest

from benchmarks import run, vendors
from benchmarks.bench import InvariantsBroken, Result, ToolMissing, result
from benchmarks.sinks import sink
from benchmarks.vendors import VENDORS


def test_a_name_nobody_knows_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(["nul"])
    assert ended.value.code == 2
    assert "nul: expected one of celery-noop, null, events" in capsys.readouterr().err


@pytest.mark.parametrize("fault", [ToolMissing("smtp-sink"), InvariantsBroken("3 rows")])
def test_what_can_not_be_measured_has_no_figure_and_the_rest_is_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: Exception
) -> None:
    def measure(name: str, runs: int) -> Result:
        if name == "smtp":
            raise fault
        return result(name, "a second", "other", [{"figure": 4.0, "baseline": 2.0, "ratio": 2.0}])

    monkeypatch.setattr(run, "measure", measure)
    assert run.main(["smtp", "null"]) == 1
    printed = capsys.readouterr()
    assert f"smtp: no figure: {fault}" in printed.err
    assert [line.split()[0] for line in printed.out.splitlines()] == ["null"]


def test_a_result_is_the_medians_of_its_runs() -> None:
    runs = [
        {"figure": f, "baseline": 10.0, "ratio": f / 10, "p99": 2 * f} for f in (30.0, 10.0, 20.0)
    ]
    found = result("x", "a second", "other", runs)
    assert (found.figure, found.baseline_figure, found.ratio) == (20.0, 10.0, 2.0)
    assert found.also() == {"p99": 40.0}


def test_the_mail_sink_counts_what_it_took() -> None:
    with sink("smtp") as running:
        with smtplib.SMTP("127.0.0.1", running.port, timeout=10) as client:
            for _ in range(3):
                client.sendmail("a@example.com", ["b@example.com"], "Subject: x\r\n\r\n.dot\r\n")
        running.expect(3)
        with pytest.raises(InvariantsBroken):
            running.expect(4)


def test_the_endpoint_counts_what_it_took() -> None:
    with sink("http") as running:
        client = HTTPConnection("127.0.0.1", running.port, timeout=10)
        for _ in range(2):
            client.request("POST", "/hook", b"{}")
            answer = client.getresponse()
            answer.read()
            assert answer.status == 204
        client.close()
        running.expect(2)


class _NoBarrier:
    """Lets whoever waits go on."""

    def wait(self, _: float) -> None:
        return None


@pytest.mark.parametrize("name", VENDORS)
def test_every_vendor_is_measured_against_an_api_that_takes_its_messages(name: str) -> None:
    with vendors.ready(name) as (api, given):
        vendors.bare_loop(_NoBarrier(), given, given.addresses[:7])  # type: ignore[arg-type]
        # One more was sent before the clock started.
        api.expect(8)

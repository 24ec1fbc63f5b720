"""Messages through vendors' APIs, from queued to the last `sent`, against a bare loop of the same
provider: its `send` over messages made beforehand, in as many processes, without the engine.

The vendor is a process of its own that answers each request after 10 ms with what its API says.
"""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier

from benchmarks import load
from benchmarks.bench import CONCURRENCY, Bench, Result, bench, result
from benchmarks.sinks import Sink, sink
from notifier import register
from notifier.channels import registry
from notifier.channels.contract import Message
from notifier.outcome import Accepted
from notifier.store import audience
from notifier.words import Channel

TEXT = "Hello Recipient 12345, spring is here."


@dataclass(frozen=True, slots=True)
class Vendor:
    """A provider under measure.

    address: of recipient `n`, as an SQL expression. settings: without the API's address, which is
    in the variable `url`. recipients: messages of a run, more than an emit fans out itself (500).
    """

    provider: str
    channel: Channel
    address: str
    url: str
    settings: Mapping[str, str] = field(default_factory=dict)
    recipients: int = 4000


_PHONE = "'+1415' || lpad(n::text, 7, '0')"
_TWILIO = {
    "NOTIFIER_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "NOTIFIER_TWILIO_AUTH_TOKEN": "bench",
    "NOTIFIER_TWILIO_FROM": "+14155550000",
}

VENDORS = {
    "sendgrid": Vendor(
        "sendgrid",
        Channel.EMAIL,
        "'r' || n || '@example.com'",
        "NOTIFIER_SENDGRID_API_URL",
        {"NOTIFIER_SENDGRID_API_KEY": "SG.bench", "NOTIFIER_SENDGRID_FROM": "a@example.com"},
    ),
    "vonage": Vendor(
        "vonage",
        Channel.SMS,
        _PHONE,
        "NOTIFIER_VONAGE_API_URL",
        {
            "NOTIFIER_VONAGE_API_KEY": "bench",
            "NOTIFIER_VONAGE_API_SECRET": "bench",
            "NOTIFIER_VONAGE_FROM": "Acme",
        },
        recipients=2000,
    ),
    "twilio-sms": Vendor(
        "twilio", Channel.SMS, _PHONE, "NOTIFIER_TWILIO_API_URL", _TWILIO, recipients=2000
    ),
    "twilio-voice": Vendor(
        "twilio", Channel.VOICE, _PHONE, "NOTIFIER_TWILIO_API_URL", _TWILIO, recipients=600
    ),
}


def run(name: str, runs: int) -> Result:
    """Messages a second of both."""
    vendor = VENDORS[name]
    figures = []
    with bench() as running, sink("vendors") as api:
        environment = {**vendor.settings, vendor.url: f"http://127.0.0.1:{api.port}"}
        tenant = _tenant(running, vendor)
        for _ in range(runs):
            baseline = _bare(vendor, environment)
            load.queued(_type(vendor), tenant)
            figure = _measured(running, api, vendor, environment)
            figures.append({"figure": figure, "baseline": baseline, "ratio": figure / baseline})
        running.check()
        load.all_sent(running, vendor.recipients * runs)
    return result(name, "deliveries/s", "bare loop of the same provider, messages/s", figures)


def _type(vendor: Vendor) -> str:
    return f"bench.{vendor.channel}"


def _parts(vendor: Vendor, text: str) -> dict[str, str]:
    if vendor.channel is Channel.EMAIL:
        return {"subject": text, "text": text}
    return {"text": text}


def _tenant(running: Bench, vendor: Vendor) -> uuid.UUID:
    """A tenant whose recipients have an address of the vendor's kind."""
    with running.pool.begin() as connection:
        register.event_type(
            connection,
            _type(vendor),
            schema={"type": "object", "properties": {"offer": {"type": "string"}}},
            channels=[vendor.channel],
            lane="bulk",
            texts={
                vendor.channel: _parts(vendor, "Hello {{ recipient.name }}, {{ offer }} is here.")
            },
        )
        made = audience.create_tenant(connection, f"bench-{uuid.uuid4().hex[:8]}")
    with running.admin() as admin:
        admin.execute(
            "WITH made AS (INSERT INTO notifier.recipients (tenant_id, external_id, name, locale) "
            "SELECT %s, n, 'Recipient ' || n, 'en' FROM generate_series(0, %s - 1) n RETURNING *) "
            "INSERT INTO notifier.contact_points (tenant_id, recipient_id, channel, address) "
            f"SELECT tenant_id, id, %s, {vendor.address} "
            "FROM (SELECT tenant_id, id, external_id AS n FROM made) x",
            (made, vendor.recipients, vendor.channel),
        )
        admin.execute("VACUUM ANALYZE")
    return made


def _bare(vendor: Vendor, environment: Mapping[str, str]) -> float:
    """Messages a second of the provider alone, in as many processes as our worker has."""
    shares = [(vendor, dict(environment), vendor.recipients // CONCURRENCY)] * CONCURRENCY
    began, done = load.produce(bare_loop, shares)
    return vendor.recipients / (done - began)


def bare_loop(ready: Barrier, vendor: Vendor, environment: Mapping[str, str], count: int) -> None:
    """Send `count` messages made beforehand."""
    provider = registry.providers()[vendor.provider].from_environment({**os.environ, **environment})
    assert provider is not None
    messages = [_message(vendor, number) for number in range(count + 1)]
    # Its package is loaded and its first connection open when the clock starts.
    list(provider.send(messages[:1], lambda: True))
    ready.wait(60)
    for _, outcome in provider.send(messages[1:], lambda: True):
        assert isinstance(outcome, Accepted), outcome
    provider.close()


def _message(vendor: Vendor, number: int) -> Message:
    made = uuid.uuid4()
    address = f"r{number}@example.com" if vendor.channel is Channel.EMAIL else f"+1415{number:07}"
    return Message(
        delivery_id=made,
        event_id=made,
        tenant_id=made,
        event_type=_type(vendor),
        channel=vendor.channel,
        address=address,
        parts=_parts(vendor, TEXT),
        attempt=1,
        correlation_id=str(made),
    )


def _measured(running: Bench, api: Sink, vendor: Vendor, environment: Mapping[str, str]) -> float:
    before = api.taken()
    providers = f"*=null,{vendor.channel}={vendor.provider}"
    figure = load.drain(running, providers, **environment)
    api.expect(before + vendor.recipients)
    return figure

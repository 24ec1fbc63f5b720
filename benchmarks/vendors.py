"""Messages through vendors' APIs, from queued to the last `sent`, against a bare loop of the same
provider: its `send` over messages made beforehand, in as many processes, without the engine.

The vendor is a process of its own that answers each request after 10 ms with what its API says.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from string import Template

from benchmarks import credentials, load
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

    address: of a recipient. settings: by variable. In both `$origin` is where the API answers,
    `$server` that without its scheme, and the fields of `Credentials` have their names; in an
    address `$n` is the recipient's number.
    secure: over TLS. recipients: messages of a run, more than an emit fans out itself (500).
    """

    provider: str
    channel: Channel
    address: str
    settings: Mapping[str, str]
    secure: bool = False
    recipients: int = 4000


_MAIL, _PHONE = "r$n@example.com", "+1415$n"
_TWILIO = {
    "NOTIFIER_TWILIO_API_URL": "$origin",
    "NOTIFIER_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "NOTIFIER_TWILIO_AUTH_TOKEN": "bench",
    "NOTIFIER_TWILIO_FROM": "+14155550000",
}

VENDORS = {
    "sendgrid": Vendor(
        "sendgrid",
        Channel.EMAIL,
        _MAIL,
        {
            "NOTIFIER_SENDGRID_API_URL": "$origin",
            "NOTIFIER_SENDGRID_API_KEY": "SG.bench",
            "NOTIFIER_SENDGRID_FROM": "a@example.com",
        },
    ),
    "ses": Vendor(
        "ses",
        Channel.EMAIL,
        _MAIL,
        {
            "NOTIFIER_SES_API_URL": "$origin",
            "NOTIFIER_SES_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "NOTIFIER_SES_SECRET_ACCESS_KEY": "bench",
            "NOTIFIER_SES_REGION": "eu-central-1",
            "NOTIFIER_SES_FROM": "a@example.com",
        },
    ),
    "postmark": Vendor(
        "postmark",
        Channel.EMAIL,
        _MAIL,
        {
            "NOTIFIER_POSTMARK_API_URL": "$origin",
            "NOTIFIER_POSTMARK_SERVER_TOKEN": "bench",
            "NOTIFIER_POSTMARK_FROM": "a@example.com",
        },
        recipients=20_000,
    ),
    "vonage": Vendor(
        "vonage",
        Channel.SMS,
        _PHONE,
        {
            "NOTIFIER_VONAGE_API_URL": "$origin",
            "NOTIFIER_VONAGE_API_KEY": "bench",
            "NOTIFIER_VONAGE_API_SECRET": "bench",
            "NOTIFIER_VONAGE_FROM": "Acme",
        },
        recipients=2000,
    ),
    "twilio-sms": Vendor("twilio", Channel.SMS, _PHONE, _TWILIO, recipients=2000),
    "twilio-voice": Vendor("twilio", Channel.VOICE, _PHONE, _TWILIO, recipients=600),
    "webpush": Vendor(
        "webpush",
        Channel.PUSH,
        '{"endpoint": "$origin/webpush/$n", "keys": {"p256dh": "$browser", "auth": "$secret"}}',
        {
            "NOTIFIER_WEBPUSH_PRIVATE_KEY": "$vapid",
            "NOTIFIER_WEBPUSH_SUBJECT": "mailto:a@example.com",
            "NOTIFIER_WEBPUSH_ALLOW_NETWORKS": "127.0.0.0/8",
            "NOTIFIER_WEBPUSH_CA_FILE": "$certificate",
        },
        secure=True,
    ),
    "fcm": Vendor(
        "fcm",
        Channel.PUSH,
        "fcm:token$n",
        {
            "NOTIFIER_FCM_API_URL": "$origin",
            "NOTIFIER_FCM_SERVICE_ACCOUNT_FILE": "$folder/account.json",
        },
    ),
    "apns": Vendor(
        "apns",
        Channel.PUSH,
        "apns:" + "0" * 57 + "$n",
        {
            "NOTIFIER_APNS_API_URL": "$origin",
            "NOTIFIER_APNS_KEY_FILE": "$folder/apns.p8",
            "NOTIFIER_APNS_KEY_ID": "A" * 10,
            "NOTIFIER_APNS_TEAM_ID": "B" * 10,
            "NOTIFIER_APNS_TOPIC": "com.example.app",
            "NOTIFIER_APNS_CA_FILE": "$certificate",
        },
        secure=True,
        recipients=10_000,
    ),
    "slack": Vendor(
        "slack",
        Channel.SLACK,
        "C$n",
        {"NOTIFIER_SLACK_API_URL": "$origin/slack", "NOTIFIER_SLACK_BOT_TOKEN": "xoxb-bench"},
    ),
    "teams": Vendor(
        "teams",
        Channel.TEAMS,
        "$origin/teams/$n",
        {
            "NOTIFIER_TEAMS_ENABLED": "yes",
            "NOTIFIER_TEAMS_HOSTS": "127.0.0.1",
            "NOTIFIER_TEAMS_ALLOW_NETWORKS": "127.0.0.0/8",
            "NOTIFIER_TEAMS_CA_FILE": "$certificate",
        },
        secure=True,
    ),
    "apprise": Vendor(
        "apprise",
        Channel.APPRISE,
        "json://$server/apprise/$n",
        {
            "NOTIFIER_APPRISE_SERVICES": "json",
            "NOTIFIER_APPRISE_ALLOW_NETWORKS": "127.0.0.0/8",
        },
        recipients=1000,
    ),
}


@dataclass(frozen=True, slots=True)
class Ready:
    """A provider whose API answers: what it is told, and its recipients' addresses."""

    provider: str
    channel: Channel
    environment: Mapping[str, str]
    addresses: Sequence[str]


def run(name: str, runs: int) -> Result:
    """Messages a second of both."""
    vendor = VENDORS[name]
    figures = []
    with bench() as running, ready(name) as (api, given):
        tenant = _tenant(running, given)
        for _ in range(runs):
            baseline = _bare(given)
            load.queued(_type(given.channel), tenant)
            figure = _measured(running, api, given)
            figures.append({"figure": figure, "baseline": baseline, "ratio": figure / baseline})
        running.check()
        load.all_sent(running, vendor.recipients * runs)
    return result(name, "deliveries/s", "bare loop of the same provider, messages/s", figures)


@contextmanager
def ready(name: str) -> Iterator[tuple[Sink, Ready]]:
    """Run the stand-in for the vendor's API."""
    vendor = VENDORS[name]
    with tempfile.TemporaryDirectory(prefix="notifier-bench-") as made:
        keys = credentials.make(Path(made))
        with sink("vendors", *([str(keys.certificate)] if vendor.secure else [])) as api:
            server = f"127.0.0.1:{api.port}"
            origin = f"{'https' if vendor.secure else 'http'}://{server}"
            credentials.service_account(keys.folder, origin)
            words = {"origin": origin, "server": server, **asdict(keys)}
            address = Template(vendor.address)
            yield (
                api,
                Ready(
                    vendor.provider,
                    vendor.channel,
                    {key: Template(v).substitute(words) for key, v in vendor.settings.items()},
                    [address.substitute(words, n=f"{n:07}") for n in range(vendor.recipients)],
                ),
            )


def _type(channel: Channel) -> str:
    return f"bench.{channel}"


def _parts(channel: Channel, text: str) -> dict[str, str]:
    named = {Channel.EMAIL: "subject", Channel.PUSH: "title"}.get(channel)
    return {"text": text, **({named: text} if named else {})}


def _tenant(running: Bench, given: Ready) -> uuid.UUID:
    """A tenant with a recipient at each address."""
    channel = given.channel
    with running.pool.begin() as connection:
        register.event_type(
            connection,
            _type(channel),
            schema=load.SCHEMA,
            channels=[channel],
            lane="bulk",
            example=load.PAYLOAD,
            texts={channel: _parts(channel, "Hello {{ recipient.name }}, {{ offer }} is here.")},
        )
        made = audience.create_tenant(connection, f"bench-{uuid.uuid4().hex[:8]}")
    with running.admin() as admin:
        admin.execute(
            "WITH given AS (SELECT n, address "
            "FROM unnest(%s::text[]) WITH ORDINALITY AS a (address, n)), "
            "made AS (INSERT INTO notifier.recipients (tenant_id, external_id, name, locale) "
            "SELECT %s, n, 'Recipient ' || n, 'en' FROM given RETURNING *) "
            "INSERT INTO notifier.contact_points (tenant_id, recipient_id, channel, address) "
            "SELECT tenant_id, id, %s, address FROM made JOIN given ON external_id = n::text",
            (list(given.addresses), made, channel),
        )
        admin.execute("VACUUM ANALYZE")
    return made


def _bare(given: Ready) -> float:
    """Messages a second of the provider alone, in as many processes as our worker has."""
    shares = [(given, given.addresses[n::CONCURRENCY]) for n in range(CONCURRENCY)]
    began, done = load.produce(bare_loop, shares)
    return len(given.addresses) / (done - began)


def bare_loop(barrier: Barrier, given: Ready, addresses: Sequence[str]) -> None:
    """Send a message made beforehand to each of the addresses."""
    kind = registry.providers()[given.provider]
    provider = kind.from_environment({**os.environ, **given.environment})
    assert provider is not None
    messages = [_message(given.channel, address) for address in addresses]
    # Its package is loaded and its first connection open when the clock starts.
    list(provider.send([_message(given.channel, addresses[0])], lambda: True))
    barrier.wait(60)
    for _, outcome in provider.send(messages, lambda: True):
        assert isinstance(outcome, Accepted), outcome
    provider.close()


def _message(channel: Channel, address: str) -> Message:
    made = uuid.uuid4()
    return Message(
        delivery_id=made,
        event_id=made,
        tenant_id=made,
        event_type=_type(channel),
        channel=channel,
        address=address,
        parts=_parts(channel, TEXT),
        attempt=1,
        correlation_id=str(made),
    )


def _measured(running: Bench, api: Sink, given: Ready) -> float:
    before = api.taken()
    providers = f"*=null,{given.channel}={given.provider}"
    figure = load.drain(running, providers, **given.environment)
    api.expect(before + len(given.addresses))
    return figure

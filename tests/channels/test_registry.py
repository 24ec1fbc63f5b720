"""Which provider carries which channel."""

import subprocess
import sys

import pytest

from notifier.channels import registry
from notifier.errors import SettingError
from notifier.words import Channel

SMTP = {"NOTIFIER_SMTP_HOST": "127.0.0.1", "NOTIFIER_SMTP_FROM": "a@example.org"}


def chosen(environment: dict[str, str]) -> dict[str, str]:
    return {
        str(channel): "+".join(p.name for p in chain)
        for channel, chain in registry.choose(environment).items()
    }


def test_without_settings_nothing_leaves_but_webhooks() -> None:
    assert chosen({}) == dict.fromkeys(Channel, "sandbox") | {
        "inapp": "inbox",
        "webhook": "webhook",
    }


def test_a_configured_provider_takes_its_channel_and_ends_the_sandboxs_time() -> None:
    """What an installation that really sends only captured would look as if it had been sent."""
    assert chosen(SMTP) == dict.fromkeys(Channel, "") | {
        "email": "smtp",
        "inapp": "inbox",
        "webhook": "webhook",
    }
    captured = chosen(SMTP | {"NOTIFIER_PROVIDERS": "sms=sandbox"})
    assert (captured["sms"], captured["voice"]) == ("sandbox", "")


def test_names_win_over_what_is_configured() -> None:
    setting = {"NOTIFIER_PROVIDERS": "email=smtp, webhook = webhook ,*=null,"}
    assert chosen(SMTP | setting) == dict.fromkeys(Channel, "null") | {
        "email": "smtp",
        "webhook": "webhook",
    }


def test_one_instance_serves_all_its_channels() -> None:
    instances = registry.choose({"NOTIFIER_PROVIDERS": "*=sandbox"})
    assert len({id(provider) for chain in instances.values() for provider in chain}) == 1


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("email=sntp", ", ".join(registry.providers())),
        ("mail=smtp", "email, sms, push"),
        ("sms=smtp", "null, sandbox"),
        ("*=smtp", "null, sandbox"),
        ("email", "channel=provider (email=smtp"),
        ("sandbox", "channel=provider (email=smtp"),
        ("email=", "smtp"),
        ("=smtp", "email"),
        ("email=null,email=sandbox", "once"),
        ("email=smtp", "NOTIFIER_SMTP_HOST"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(value: str, known: str) -> None:
    with pytest.raises(SettingError) as caught:
        registry.choose({"NOTIFIER_PROVIDERS": value})
    assert caught.value.variable == "NOTIFIER_PROVIDERS"
    assert known in caught.value.expected


def test_what_is_missing_is_explained_by_what_is_set() -> None:
    given = {"NOTIFIER_TWILIO_ACCOUNT_SID": "AC1", "NOTIFIER_TWILIO_FROM": " "}
    with pytest.raises(SettingError) as caught:
        registry.choose(given)
    assert str(caught.value) == (
        "NOTIFIER_TWILIO_AUTH_TOKEN: expected a value (and NOTIFIER_TWILIO_FROM too), "
        "because of NOTIFIER_TWILIO_ACCOUNT_SID"
    )
    given |= {"NOTIFIER_TWILIO_AUTH_TOKEN": "secret"}
    with pytest.raises(SettingError) as caught:
        registry.choose(given)
    assert str(caught.value) == (
        "NOTIFIER_TWILIO_FROM: expected a value, "
        "because of NOTIFIER_TWILIO_ACCOUNT_SID, NOTIFIER_TWILIO_AUTH_TOKEN"
    )


def test_finding_the_providers_loads_no_heavy_module() -> None:
    program = (
        "import sys; from notifier.channels import registry; registry.choose({});"
        "heavy = {'apprise', 'requests', 'twilio', 'cryptography', 'email_validator'};"
        "heavy |= {'sqlalchemy', 'celery', 'jwt', 'h2', 'hyperframe'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0)

"""Signature Version 4 against AWS's own test suite (the `v4` folder of aws-signing-test-suite)."""

from datetime import UTC, datetime

import pytest

from notifier.channels.sigv4 import Credentials, Scope, signed, signing_key

NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SCOPE = Scope("us-east-1", "service")
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfp"
    "SPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQ"
    "DYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+s"
    "cqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)


@pytest.mark.parametrize(
    ("case", "headers", "body", "token", "names", "signature"),
    [
        (
            "post-vanilla",
            {},
            b"",
            None,
            "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "post-x-www-form-urlencoded",
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            None,
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "post-sts-header-before",
            {},
            b"",
            TOKEN,
            "host;x-amz-date;x-amz-security-token",
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
        ),
    ],
)
def test_a_request_of_the_suite_is_signed_as_it_is_there(
    case: str, headers: dict[str, str], body: bytes, token: str | None, names: str, signature: str
) -> None:
    credentials = Credentials(KEY_ID, SECRET, token)
    made = signed("POST", "example.amazonaws.com", "/", headers, body, credentials, SCOPE, NOW)
    assert made["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    ), case
    assert made["X-Amz-Date"] == "20150830T123600Z"
    assert made.get("X-Amz-Security-Token") == token


def test_the_key_of_a_day_is_the_documented_one() -> None:
    key = signing_key(SECRET, "20150830", Scope("us-east-1", "iam"))
    assert key.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"


def test_secrets_are_not_shown() -> None:
    shown = repr(Credentials(KEY_ID, "secret-key", "session-token"))
    assert "secret-key" not in shown
    assert "session-token" not in shown

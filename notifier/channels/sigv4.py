"""AWS Signature Version 4 of a request, as far as our calls need it: a plain path, no query.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; session_token: where it is a temporary one."""

    key_id: str
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which service of which region a signature is for."""

    region: str
    service: str


def signed(
    method: str,
    host: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    scope: Scope,
    now: datetime,
) -> dict[str, str]:
    """`headers` and those that sign them with the rest of the request.

    host: as the Host header will say it. path: of unreserved characters. now: in UTC; AWS refuses
    what is more than five minutes off.
    """
    made = {**headers, "X-Amz-Date": now.strftime("%Y%m%dT%H%M%SZ")}
    if credentials.session_token is not None:
        made["X-Amz-Security-Token"] = credentials.session_token
    covered = sorted([("host", host), *((name.lower(), value) for name, value in made.items())])
    names = ";".join(name for name, _ in covered)
    request = "\n".join(
        [
            method,
            path,
            "",
            *(f"{name}:{' '.join(value.split())}" for name, value in covered),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    day = now.strftime("%Y%m%d")
    within = f"{day}/{scope.region}/{scope.service}/aws4_request"
    hashed = hashlib.sha256(request.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{made['X-Amz-Date']}\n{within}\n{hashed}"
    signature = _hmac(signing_key(credentials.secret, day, scope), to_sign).hex()
    made["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{within}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return made


@lru_cache(maxsize=16)
def signing_key(secret: str, day: str, scope: Scope) -> bytes:
    """The key of one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in (day, scope.region, scope.service, "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")

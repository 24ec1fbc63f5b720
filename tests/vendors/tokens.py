"""JSON Web Tokens as a receiver checks them, with nothing of the package that makes ours."""

import base64
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """Base64url without padding (RFC 7515, 2); ValueError for anything else."""
    if "=" in text or "+" in text or "/" in text:
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(
    token: str, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token signed with ES256 or RS256, as the key is; ValueError if not."""
    try:
        head, body, signature = token.split(".")
        header, claims = json.loads(decoded(head)), json.loads(decoded(body))
        signed, raw = f"{head}.{body}".encode(), decoded(signature)
        if isinstance(key, rsa.RSAPublicKey):
            expected = "RS256"
            key.verify(raw, signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            expected = "ES256"
            if len(raw) != 64:
                raise ValueError("the signature is not 64 bytes")
            r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise ValueError("the signature does not fit") from None
    if header.get("alg") != expected:
        raise ValueError(f"the algorithm is not {expected}")
    return header, claims

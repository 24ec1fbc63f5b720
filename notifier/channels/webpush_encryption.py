"""Encryption of a push message for one browser: RFC 8291 over the content coding of RFC 8188.

Written on the primitives of `cryptography`, which is here anyway: `http-ece`, the package for this,
is released as source only and would have every installation build it.
"""

import os
import struct
from typing import Any

RECORD = 4096
"""Bytes of the one record; push services need not take a longer body (RFC 8291, 4)."""

_HEADER = 16 + 4 + 1 + 65
"""Salt, record size, length of the key, our public key (RFC 8188, 2.1)."""

LONGEST = RECORD - _HEADER - 16 - 1
"""Bytes that can be said: less the header, the tag and the byte that ends the last record."""


def encrypt(
    content: bytes, key: bytes, secret: bytes, *, own: Any = None, salt: bytes | None = None
) -> bytes:
    """The body of a push message that only the holder of `key` can read.

    key: the browser's public key, an uncompressed point. secret: its authentication secret.
    own, salt: the key pair and the salt of this message, which are never used for another.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if len(content) > LONGEST:
        raise ValueError(f"more than {LONGEST} bytes")
    own = own or ec.generate_private_key(ec.SECP256R1())
    salt = salt or os.urandom(16)

    def derive(length: int, salt: bytes, info: bytes, material: bytes) -> bytes:
        return HKDF(SHA256(), length, salt, info).derive(material)

    public: bytes = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
    shared = own.exchange(ec.ECDH(), theirs)
    material = derive(32, secret, b"WebPush: info\0" + key + public, shared)
    content_key = derive(16, salt, b"Content-Encoding: aes128gcm\0", material)
    nonce = derive(12, salt, b"Content-Encoding: nonce\0", material)
    header = salt + struct.pack("!IB", RECORD, len(public)) + public
    return header + AESGCM(content_key).encrypt(nonce, content + b"\x02", None)

"""Signatures by Ed25519: that a file is what the holder of a key has signed.

Verified by `openssl pkeyutl -verify -pubin -inkey PUB -rawin -in FILE -sigfile FILE.sig`, too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_ray.core.errors import BadInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_REMEDY = "make one: openssl genpkey -algorithm ed25519 -out key.pem"


@dataclass(frozen=True)
class Signer:
    """A private key, which nothing shows.

    Attributes:
        public: the public key, in PEM.
        fingerprint: SHA-256 of the public key in DER (SubjectPublicKeyInfo).
    """

    _key: Ed25519PrivateKey
    public: bytes
    fingerprint: str

    def sign(self, data: bytes) -> bytes:
        """The signature of some bytes, 64 bytes long."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"Signer({self.fingerprint})"


def signer(file: Path) -> Signer:
    """The key in a PEM file.

    Raises:
        BadInput: it cannot be read, is encrypted, or is no private key of Ed25519.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    subject = f"--sign {file}"
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(subject, (error.strerror or "unreadable").lower(), _REMEDY) from None
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        remedy = "decrypt it for this command: openssl pkey -in FILE -out key.pem"
        raise BadInput(subject, "the key is encrypted", remedy) from None
    except (ValueError, UnsupportedAlgorithm):
        # Messages of the library may quote what they could not read.
        raise BadInput(subject, "is no private key in PEM", _REMEDY) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(subject, "is no key of Ed25519", _REMEDY)
    public = key.public_key()
    der, pem = (
        public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
        for encoding in (serialization.Encoding.DER, serialization.Encoding.PEM)
    )
    return Signer(key, pem, hashlib.sha256(der).hexdigest())

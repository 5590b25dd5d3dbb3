"""Signatures of reports: Ed25519 over the bytes of a JSON file, which holds the hash of the page beside it.

The signature is the 64 bytes of RFC 8032 in a file of their own, keys are PEM, so that OpenSSL checks them too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mindwire.errors import RecordingError, UsageError
from mindwire_models.atomic import replace_file
from mindwire_models.errors import extra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_PURPOSE = "Signatures need the package cryptography"


def make_key(path: Path) -> Path:
    """Make a pair of keys: the private one at ``path``, for its owner alone, the public one beside it, whose path is returned.

    Raises
    ------
    UsageError
        One of the two files exists; keys are never overwritten.
    RecordingError
        They cannot be written.
    """
    with extra("sign", _PURPOSE):
        from cryptography.hazmat.primitives import serialization as form
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    key, public = Ed25519PrivateKey.generate(), path.with_name(f"{path.name}.pub")
    if existing := next((one for one in (path, public) if os.path.lexists(one)), None):
        msg = f"{existing} exists, and keys are never overwritten; choose another name."
        raise UsageError(msg)
    private_pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public_pem = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    try:
        for place, data, mode in ((path, private_pem, 0o600), (public, public_pem, 0o644)):
            with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
    except OSError as error:
        msg = f"{path}: the key cannot be written ({error.strerror}); choose another place."
        raise RecordingError(msg) from error
    return public


def read_private(path: Path) -> Ed25519PrivateKey:
    """Read a private key; a UsageError refuses what is none, a MissingExtraError an installation without ``cryptography``."""
    with extra("sign", _PURPOSE):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    try:
        key = load_pem_private_key(_read(path), None)
    except (ValueError, TypeError) as error:
        msg = f"{path}: expected a private key of Ed25519 without a passphrase (PEM), found something else."
        raise UsageError(msg) from error
    if not isinstance(key, Ed25519PrivateKey):
        msg = (
            f"{path}: expected a private key of Ed25519, found another kind; make one with mindwire certify --new-key."
        )
        raise UsageError(msg)
    return key


def read_public(path: Path) -> Ed25519PublicKey:
    """Read a public key; errors as of :func:`read_private`."""
    with extra("sign", _PURPOSE):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    try:
        key = load_pem_public_key(_read(path))
    except ValueError as error:
        msg = f"{path}: expected a public key of Ed25519 (PEM), found something else; take the file that ends in .pub."
        raise UsageError(msg) from error
    if not isinstance(key, Ed25519PublicKey):
        msg = f"{path}: expected a public key of Ed25519, found another kind."
        raise UsageError(msg)
    return key


def named_key(name: str) -> Ed25519PublicKey | None:
    """Return the public key of a name as :func:`key_name` gives it; None for what is none."""
    with extra("sign", _PURPOSE):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(name))
    except ValueError:
        return None


def key_name(key: Ed25519PublicKey) -> str:
    """Return the 32 bytes of a public key in hexadecimal."""
    return key.public_bytes_raw().hex()


def signature_path(report: Path) -> Path:
    """Return the path of a report's signature."""
    return report.with_name(f"{report.name}.sig")


def sign(report: Path, key: Ed25519PrivateKey) -> Path:
    """Sign the bytes of a report, and return the path of the signature."""
    path = signature_path(report)
    replace_file(path, key.sign(report.read_bytes()))
    return path


def is_signed(data: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Return true if the signature is the key's of these bytes."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path}: the key cannot be read ({error.strerror}); check the path."
        raise UsageError(msg) from error

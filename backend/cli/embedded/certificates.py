"""The certificate with which the console speaks TLS: made on this machine, for its own addresses.

Phones give pages the camera over https only. No public authority certifies an address of a private network,
so the stack is its own: browsers warn once, unless its certificate (`ca.pem`) is installed on them.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from backend.cli.embedded.home import Home, private_folder, write_private

_AUTHORITY_DAYS = 3650
_DAYS = 390  # phones refuse certificates that hold for more than 398
_RENEW_BEFORE = timedelta(days=30)
_CLOCKS = timedelta(days=1)  # that phones' clocks may be behind


@dataclass(frozen=True)
class Files:
    """PEM files: what the server sends, its key, and the authority that browsers may trust."""

    chain: Path
    key: Path
    authority: Path


def files(home: Home) -> Files:
    """Where they lie."""
    folder = home.path / "tls"
    return Files(folder / "server.pem", folder / "server-key.pem", folder / "ca.pem")


def ensure(home: Home, hosts: Sequence[str]) -> Files:
    """Make what is missing; a certificate that lacks one of these names or addresses, or soon expires, is
    made anew by the same authority. Raises `OSError` and, for damaged files, `ValueError`.
    """
    found = files(home)
    private_folder(found.chain.parent)
    if not found.authority.exists():
        _make_authority(found)
    if not found.chain.exists() or not _holds(found.chain, hosts):
        _make_certificate(found, hosts)
    return found


def own_hosts() -> list[str]:
    """The names and IPv4 addresses of this machine."""
    name = socket.gethostname()
    found = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    }
    return sorted({"localhost", name, f"{name.split('.')[0]}.local", "127.0.0.1", *found})


def _authority_key(found: Files) -> Path:
    return found.authority.with_name("ca-key.pem")


def _make_authority(found: Files) -> None:
    key, name = ec.generate_private_key(ec.SECP256R1()), _name(f"Sightloop on {socket.gethostname()}")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        _builder(name, name, key.public_key(), _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(_authority_key(found), _key_text(key))
    write_private(found.authority, _text(made))


def _make_certificate(found: Files, hosts: Sequence[str]) -> None:
    authority = x509.load_pem_x509_certificate(found.authority.read_bytes())
    signer = serialization.load_pem_private_key(_authority_key(found).read_bytes(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{_authority_key(found)} is no key that Sightloop made")
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    made = (
        _builder(_name("Sightloop"), authority.subject, key.public_key(), _DAYS)
        .add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(signer, hashes.SHA256())
    )
    write_private(found.key, _key_text(key))
    write_private(found.chain, _text(made) + found.authority.read_text())


def _holds(chain: Path, hosts: Sequence[str]) -> bool:
    """Whether the certificate names all of these and holds for a while."""
    made = x509.load_pem_x509_certificate(chain.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    renew = made.not_valid_after_utc - _RENEW_BEFORE < datetime.now(UTC)
    return not renew and {_general(host) for host in hosts} <= set(names)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS)
        .not_valid_after(now + timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()

"""`damocles-manager auth ca`: a small private authority, and certificates for the machines of a farm.

It makes what `cryptography` is for; `doctor` reads when certificates end.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cyclopts import Parameter

from damocles import durable
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.rpc import address

AUTHORITY = "ca"
AUTHORITY_DAYS = 3650
HOST_DAYS = 730
# Commands on a machine reach its daemon there, whatever else the machine is called.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SKEW = timedelta(hours=1)  # of the clocks in a farm


def ca(
    *,
    directory: Annotated[Path, Parameter(name="--dir", help="Folder of the authority and its certificates.")],
    host: Annotated[
        list[str],
        Parameter(name="--host", help="A machine: all its names and addresses, like gpu1,10.0.0.7; repeatable."),
    ],
    renew: Annotated[
        bool, options.Flag(name="--renew", help="Replace keys and certificates that already exist.")
    ] = False,
    json: options.AsJson = False,
) -> int:
    """Create certificates for machines, and before the first one the authority that signs them.

    Each machine needs its own two files, and `ca.pem`. Anybody with `ca.key` can impersonate any machine: keep it apart.
    """
    machines = _machines(host)
    for name in machines:
        there = [file for file in (directory / f"{name}.key", directory / f"{name}.pem") if file.exists()]
        if there and not renew:
            raise exits.WrongUsage(f"{there[0]} already exists: pass --renew to replace it")
    made: list[dict[str, str]] = []
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        certificate, key = _authority(directory, made)
        for name, names in machines.items():
            made.append(_write(directory, name, *_signed(names, certificate, key), chain=certificate))
    except OSError as error:
        raise exits.Failed(f"{error.filename or directory} cannot be used: {error.strerror}") from error
    except ValueError as error:
        raise exits.Failed(f"the authority in {directory} cannot be used: {error}") from error
    finally:
        text = "\n".join(f"{one['certificate']}  {one['key']}  (until {one['until']})" for one in made)
        exits.print_result(text, made, as_json=json)
    return exits.OK


def _machines(texts: Iterable[str]) -> dict[str, list[str]]:
    """Return the names and addresses of machines, by the first one, after which their files are named."""
    machines: dict[str, list[str]] = {}
    for text in texts:
        try:
            names = [address.host_name(name.strip()) for name in text.split(",")]
        except ValueError as error:
            raise exits.WrongUsage(
                f"--host {text!r}: {error}; write names and addresses, like gpu1,10.0.0.7"
            ) from error
        if names[0] == AUTHORITY:
            raise exits.WrongUsage(
                f"--host {text!r}: {AUTHORITY!r} is the name of the authority's own files; begin with another name"
            )
        if names[0] in machines:
            raise exits.WrongUsage(f"--host {text!r}: {names[0]} is given twice; write all its names in one --host")
        machines[names[0]] = names
    return machines


def _authority(directory: Path, made: list[dict[str, str]]) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return the authority of a folder; a missing one is created and added to `made`."""
    file, key_file = directory / f"{AUTHORITY}.pem", directory / f"{AUTHORITY}.key"
    if file.exists() or key_file.exists():
        found = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_file} is not a key that this command has made")
        return x509.load_pem_x509_certificate(file.read_bytes()), found
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"damocles authority {directory.resolve().name}")])
    builder = _builder(name, name, key.public_key(), AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    made.append(_write(directory, AUTHORITY, certificate, key))
    return certificate, key


def _signed(
    names: Sequence[str], authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = _builder(subject, authority.subject, key.public_key(), HOST_DAYS)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    alternatives = [_general_name(name) for name in dict.fromkeys((*names, *_LOOPBACK))]
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (issuer_id, False),
        (x509.SubjectAlternativeName(alternatives), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(authority_key, hashes.SHA256()), key


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(
    directory: Path,
    name: str,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    chain: x509.Certificate | None = None,
) -> dict[str, str]:
    """Write NAME.pem (with the chain) and NAME.key; return what to report of them."""
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file, key_file = directory / f"{name}.pem", directory / f"{name}.key"
    durable.replace(key_file, secret, private=True)
    parts = [certificate, *([chain] if chain else [])]
    file.write_bytes(b"".join(part.public_bytes(pem) for part in parts))
    return {
        "certificate": str(file),
        "key": str(key_file),
        "until": certificate.not_valid_after_utc.date().isoformat(),
    }

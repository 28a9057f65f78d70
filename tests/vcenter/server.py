"""Builds and runs the vCenter of tests/vcenter/main.go, and makes the certificates it shows."""

import functools
import ipaddress
import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SOURCE = Path(__file__).parent / "main.go"
# Where Debian's golang-github-vmware-govmomi-dev puts the simulator's source.
GOPATH = "/usr/share/gocode"
_FOLDER = tempfile.TemporaryDirectory(prefix="vgpu-serve-vcenter-")  # removed when the tests end
USER, PASSWORD = "administrator@vsphere.local", "correct-horse-battery"


@functools.cache
def binary() -> Path:
    """The simulator, built once a run. Go keeps what it compiled, so only the very first time takes half a minute."""
    go = shutil.which("go")
    if go is None or not Path(GOPATH, "src/github.com/vmware/govmomi/simulator").is_dir():
        raise FileNotFoundError("these tests need Go and govmomi's source: run `make hypervisors`")
    built = Path(_FOLDER.name) / "vcenter"
    cache = Path(tempfile.gettempdir()) / f"vgpu-serve-go-{os.getuid()}"
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": GOPATH, "GOFLAGS": "", "GOCACHE": str(cache)}
    subprocess.run([go, "build", "-o", str(built), str(SOURCE)], check=True, env=environment, timeout=600)
    return built


@dataclass
class VCenter:
    """A simulated vCenter that can be stopped and started at one port of the loopback."""

    certificates: "Certificates"
    user: str = USER
    port: int = field(default_factory=lambda: _free_port())
    _process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        shown = self.certificates
        command = [str(binary()), "-listen", f"127.0.0.1:{self.port}", "-user", self.user, "-password", PASSWORD]
        command += ["-certificate", str(shown.certificate), "-key", str(shown.key)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass(frozen=True)
class Certificates:
    """An authority of the test's own, and what it signed for 127.0.0.1."""

    authority: Path
    certificate: Path
    key: Path


def certificates(folder: Path, address: str = "127.0.0.1") -> Certificates:
    """PEM files of a new authority, and of a server's certificate for this address."""
    folder.mkdir(parents=True, exist_ok=True)
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    authority = (
        _certificate(issuer, issuer, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vcenter")])
    server = (
        _certificate(subject, issuer, server_key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    made = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    pem = serialization.Encoding.PEM
    made.authority.write_bytes(authority.public_bytes(pem))
    made.certificate.write_bytes(server.public_bytes(pem))
    made.key.write_bytes(server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return made


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
    )


if __name__ == "__main__":
    # `make hypervisors`: the first build may take longer than a test is given.
    binary()

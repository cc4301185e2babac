"""Which certificates are believed: the system's, and with `trust_env` those that the environment names."""

from __future__ import annotations

import os
import platform
import re
import ssl
from functools import lru_cache
from pathlib import Path

from headrace.errors import CallError

CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)
"""Where systems keep their certificates, for a Python whose OpenSSL was built for another one."""
HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")


@lru_cache(maxsize=2)
def tls_context(*, trust_env: bool) -> ssl.SSLContext:
    """Return the context that verifies certificates and host names; one for all, since reading the files takes long."""
    if trust_env:
        context = ssl.create_default_context()  # OpenSSL itself reads SSL_CERT_FILE and SSL_CERT_DIR
        file = os.environ.get("SSL_CERT_FILE")
        try:
            context.load_verify_locations(file) if file else None  # it passes over a file that it cannot use
        except OSError as error:
            raise CallError(
                "connection",
                f"SSL_CERT_FILE is no file of certificates: {error.strerror or 'it holds none'}",
                details={"unreachable": True},
            ) from None
        return context
    if platform.system() in ("Windows", "Darwin"):
        import httpx2  # theirs is no file

        return httpx2.create_ssl_context(trust_env=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    paths = ssl.get_default_verify_paths()  # as compiled in: what the environment names is not wanted
    file = paths.openssl_cafile if Path(paths.openssl_cafile).is_file() else None
    folder = paths.openssl_capath if has_certificates(Path(paths.openssl_capath)) else None
    if file is None and folder is None:
        file = next((each for each in CA_FILES if Path(each).is_file()), None)
    if file or folder:
        context.load_verify_locations(file, folder)
    return context


def has_certificates(folder: Path) -> bool:
    """Return whether OpenSSL finds certificates there: files that are named by their hashes."""
    return folder.is_dir() and any(HASHED.fullmatch(each.name) for each in folder.iterdir())

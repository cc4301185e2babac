"""Certificates for tests: of a CA of their own, and faulty ones."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
LEAVES = {
    "good": ("IP:127.0.0.1,IP:::1,DNS:localhost", 2),
    "expired": ("IP:127.0.0.1,DNS:localhost", -1),
    "another's": ("DNS:other.example", 2),
}


class Certificates:
    """`ca` is the file of the CA's certificate; `context(name)` is a server's with one of `LEAVES` or `self-signed`."""

    def __init__(self, folder: Path):
        if shutil.which("openssl") is None:
            pytest.skip("needs the openssl command")
        self._folder = folder
        self.ca, key = folder / "ca.crt", folder / "ca.key"
        ca = ["req", "-x509", *KEY, "-subj", "/CN=headrace tests", "-days", "2", "-keyout", str(key)]
        self._openssl(*ca, "-addext", "keyUsage=critical,keyCertSign", "-out", str(self.ca))
        own = ["req", "-x509", *KEY, "-subj", "/CN=127.0.0.1", "-days", "2", "-keyout", str(folder / "self-signed.key")]
        self._openssl(*own, "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(folder / "self-signed.crt"))
        for name, (hosts, days) in LEAVES.items():
            file = folder / name
            file.with_suffix(".ext").write_text(f"subjectAltName={hosts}")
            request = ["req", *KEY, "-subj", "/CN=x", "-keyout", f"{file}.key"]
            self._openssl(*request, "-out", f"{file}.csr")
            sign = ["x509", "-req", "-in", f"{file}.csr", "-CA", str(self.ca), "-CAkey", str(key), "-CAcreateserial"]
            self._openssl(*sign, "-days", str(days), "-extfile", f"{file}.ext", "-out", f"{file}.crt")

    def context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        return context

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

"""Media at an address on the web: fetched from the public internet alone, and bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from media_files import image

from headrace.batches.build import make_template
from headrace.batches.inputs.reading import Reading
from headrace.batches.media import fetching
from headrace.batches.media.fetching import fetched
from headrace.batches.media.references import Blob
from headrace.errors import InputError
from headrace.guards.public_address import is_public

PNG = image()
MAX_BYTES = 50_000


class Web(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, host = self.path, self.headers["host"]
        moved = {
            "/moved": "/a.png",
            "/round": "/round",
            "/inside": "http://inside.example/",
            "/file": "file:///etc/passwd",
        }
        if path in moved:
            self.send_response(302)
            self.send_header("location", moved[path])
            self.send_header("content-length", "0")
            self.end_headers()
            return
        data = {"/a.png": PNG, "/host": host.encode(), "/large": b"x" * (MAX_BYTES + 1)}.get(path, b"gone")
        self.send_response(200 if path != "/gone" else 404)
        self.send_header("content-length", str(len(data) + (path == "/cut")))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A site that is on the public internet by its name."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        public = fetching.public_addresses

        def addresses(host: str, port: int) -> list[str]:
            return (
                ["127.0.0.1"] if host == "public.example" else public(host.replace("inside.example", "10.0.0.7"), port)
            )

        monkeypatch.setattr(fetching, "public_addresses", addresses)
        yield f"http://public.example:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_lies_at_an_address_is_fetched(web: str) -> None:
    assert fetched(f"{web}/a.png", MAX_BYTES) == PNG
    assert fetched(f"{web}/moved", MAX_BYTES) == PNG
    assert fetched(f"{web}/host", MAX_BYTES).decode() == web.removeprefix("http://")


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/gone", "answers with status 404"),
        ("/large", "has more than 50000 bytes"),
        ("/round", "leads on more than 3 times"),
        ("/inside", "10.0.0.7, which is not on the public internet"),
        ("/file", "is no address that begins with"),
        ("/cut", r"ended before its length|IncompleteRead"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused(path: str, complaint: str, web: str) -> None:
    with pytest.raises(InputError, match=complaint):
        fetched(f"{web}{path}", MAX_BYTES)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a",
        "http://localhost:6379/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://100.64.0.1/",
        "http://[fd00::1]/",
        "http://[fe80::1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://224.0.0.1/",
    ],
)
def test_addresses_of_this_machine_and_its_network_are_not_fetched(url: str) -> None:
    with pytest.raises(InputError, match="not on the public internet"):
        fetched(url, MAX_BYTES)


@pytest.mark.parametrize(
    "url",
    ["http://user:secret@example.org/", "ftp://example.org/a", "http://", "http://example.org:99999/", "http://a b/"],
)
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(InputError) as error:
        fetched(url, MAX_BYTES)
    assert "secret" not in str(error.value)


def test_public_addresses() -> None:
    assert is_public("8.8.8.8")
    assert is_public("2606:4700::1111")


def test_rows_are_fetched_where_that_is_asked_for(web: str) -> None:
    template, _ = make_template("rehearsal/x", "Read it.")
    rows = [{"scan": f"{web}/a.png"}, {"scan": f"{web}/gone"}]
    blob, *items = Reading(rows, template, images="scan", fetch=True, on_bad_row="error").items()
    assert blob == Blob.of(PNG)
    assert len(items) == 2
    assert "item 2, column scan: " in items[1].refused
    assert "answers with status 404" in items[1].refused

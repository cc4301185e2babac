"""What a batch over an uploaded file has of its own before it is created."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from headrace_api.requests.batches import BatchRequest
from headrace_api.routes.batches import prepared

from headrace.batches.template import Template
from headrace.errors import StorageError
from headrace.ledger.file_record import FileRecord
from headrace.storage.local import LocalFileStore

FILE = FileRecord(id="file-a", purpose="batch", filename="a", bytes=3, created_ms=0)
ASKED = BatchRequest(
    input_file="file-a", endpoint="/v1/chat/completions", window="24h", template=Template(model=""), metadata={"k": "v"}
)


def test_a_link_to_its_input_which_may_be_deleted_from_then_on(tmp_path: Path) -> None:
    store = LocalFileStore(tmp_path)
    store.commit(FILE.content, [b"abc"])
    record = prepared(store, "batch_x", FILE, ASKED)
    store.remove(FILE.content)
    assert store.read(str(record["upload"])) == b"abc"
    assert json.loads(record["metadata"]) == {"k": "v"}
    with pytest.raises(StorageError):
        prepared(store, "batch_y", FILE, ASKED)


def test_the_aliases_of_its_creator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalFileStore(tmp_path)
    store.commit(FILE.content, [b"abc"])
    assert "aliases" not in prepared(store, "batch_x", FILE, ASKED)
    monkeypatch.setenv("HEADRACE_MODELS", '{"fast": ["rehearsal/a", "rehearsal/b"]}')
    record = prepared(store, "batch_y", FILE, ASKED)
    assert json.loads(store.read(str(record["aliases"]))) == {"fast": ["rehearsal/a", "rehearsal/b"]}

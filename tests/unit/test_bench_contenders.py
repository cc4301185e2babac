"""The contenders of `make bench`: who is there, what is made of their figures, and that their work is checked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from bench import bulk, chat, run
from bench.contenders import (
    CELERY,
    CONTENDERS,
    GATHER,
    HEADRACE,
    QUEUES,
    Contender,
    Failed,
    Measured,
    check_rows,
    present,
)
from bench.peers.contender import cpu_seconds, family
from bench.peers.item import VALUE
from bench.peers.item import row as row_of
from bench.report.figures import Figures, Results, row

PEERS = Path(bulk.__file__).parent / "peers"


def test_a_peer_without_an_environment_is_named(tmp_path: Path) -> None:
    (tmp_path / "celery").mkdir()
    (tmp_path / "celery" / "ready").touch()
    (tmp_path / "arq" / "bin").mkdir(parents=True)  # its set-up was interrupted
    there, absent = present(tmp_path)
    assert there == [HEADRACE, *CELERY]
    assert absent == dict.fromkeys(["arq", "dramatiq", "gather", "saq", "taskiq"], "no environment")


def test_every_contender_has_a_program_and_pinned_versions() -> None:
    for contender in CONTENDERS:
        assert (PEERS / f"{contender.peer}.py").exists()
        assert contender == HEADRACE or (PEERS / f"{contender.peer}.txt").exists()
    for file in PEERS.glob("*.txt"):
        for line in file.read_text().splitlines():
            assert re.fullmatch(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==[0-9.]+", line), f"{file.name}: {line}"


def measured_but(broken: Contender):
    """A `measure` in which one contender fails."""

    def measure(contender: Contender, *_: object) -> Measured:
        if contender == broken:
            raise Failed("its worker ended")
        return Measured(1, 1, 100, "1.0")

    return measure


@pytest.fixture
def without_a_stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "stub", lambda folder: nullcontext("http://127.0.0.1:1/v1"))
    monkeypatch.setattr(bulk, "present", lambda: (list(CONTENDERS), {}))


@pytest.mark.usefixtures("without_a_stub")
def test_a_peer_that_fails_is_named_and_stops_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "measure", measured_but(CELERY[1]))
    figures = bulk.figures()
    assert figures.absent == {CELERY[1].label: "failed"}
    assert f"items per CPU-second, {CELERY[1].label}" not in [each.name for each in figures.rows]
    assert f"items per CPU-second, {CELERY[0].label}" in [each.name for each in figures.rows]
    assert figures.versions == dict.fromkeys(["openai", "celery", "taskiq", "arq", "saq", "dramatiq"], "1.0")


@pytest.mark.usefixtures("without_a_stub")
def test_without_headrace_there_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "measure", measured_but(HEADRACE))
    with pytest.raises(Failed, match="its worker ended"):
        bulk.figures()


def test_a_subject_that_cannot_be_measured_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> Figures:
        raise SystemExit("it did not start")

    written: list[Results] = []
    subjects = {"bulk": fails, "chat": lambda: Figures([row("rate", 2, "1/s", 1)])}
    monkeypatch.setattr(run, "SUBJECTS", subjects)
    monkeypatch.setattr(run, "SCALE", 1)
    monkeypatch.setattr(run, "load", Results)
    monkeypatch.setattr(run, "write", written.append)
    assert run.main([]) == 1
    assert run.main(["chat"]) == 0
    assert run.main(["tea"]) == 2
    assert [[each.name for each in results.subjects] for results in written] == [["chat"], ["chat"]]
    said = capsys.readouterr()
    assert "bulk was not measured: it did not start" in said.err
    assert "tea: choose from bulk, chat" in said.err
    assert "holds" in said.out


def test_the_ratios_are_against_the_best_of_those_who_were_there() -> None:
    totals = {
        HEADRACE: Measured(10, 5, 20_000, "0.1.0", {"producer": 1, "worker": 3, "broker": 1}),
        CELERY[0]: Measured(10, 10, 4000, "5.7.0"),
        CELERY[1]: Measured(10, 10, 5000, "5.7.0"),
        QUEUES[1]: Measured(10, 10, 10_000, "0.28.0"),
    }
    rows = {each.name: each for each in bulk.rows(totals)}
    assert rows["items per CPU-second, headrace"].value == 4000
    assert rows["CPU of an item, headrace's worker"].value == 0.15
    assert rows["items per CPU-second vs Celery, one task per completion"].value == 8
    assert rows["items per CPU-second vs Celery, one task per completion"].holds is False
    assert rows["items per CPU-second vs the best of the other queues"].value == 4
    assert not [name for name in rows if "gather" in name]


def test_rounds_add_up() -> None:
    one = Measured(1, 2, 100, "1.0", {"producer": 0.5, "worker": 1.5})
    assert Measured().plus(one).plus(one) == Measured(2, 4, 200, "1.0", {"producer": 1.0, "worker": 3.0})
    assert one.cpu_ms == 20


def test_a_loss_against_the_proxy_is_a_row_with_its_reason() -> None:
    found = {
        chat.DIRECT: chat.Measured([1.0], 1, 0, 1000),
        chat.HEADRACE: chat.Measured([4.0, 5.0, 6.0], 1, 2, 1000),
        chat.LITELLM: chat.Measured([2.0], 1, 4, 500),
    }
    rows = {each.name: each for each in chat.rows(found)}
    assert rows["added latency of a plain chat, one in flight, p50, headrace"].value == 4
    assert rows["CPU of a plain chat, headrace"].value == 2
    assert rows["plain chats a second vs LiteLLM's proxy"].value == 2
    assert rows["plain chats a second vs LiteLLM's proxy"].remark == ""
    assert rows["plain chats per CPU-second vs LiteLLM's proxy"].value == 4
    assert rows["shorter added latency vs LiteLLM's proxy"].value == 0.25
    assert rows["shorter added latency vs LiteLLM's proxy"].remark.startswith("headrace loses: ")


def test_without_the_proxy_there_are_no_rows_of_it() -> None:
    found = {
        chat.DIRECT: chat.Measured([1.0], 1, 0, 1000),
        chat.HEADRACE: chat.Measured([4.0], 1, 2, 1000),
    }
    assert not [each.name for each in chat.rows(found) if "LiteLLM" in each.name]


@pytest.mark.parametrize("ids", [(0, 1), (0, 1, 1), (0, 1, 3), (0, 1, 2, 2)])
def test_rows_that_are_not_those_of_the_items_end_the_run(tmp_path: Path, ids: tuple[int, ...]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b"".join(row_of(number, json.dumps(VALUE)) for number in (-1, *ids)))
    with pytest.raises(Failed, match="the rows are not those of 3 items"):
        check_rows(rows, 3, GATHER.label)


def test_a_row_with_another_value_ends_the_run(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(row_of(0, json.dumps(VALUE)))
    check_rows(rows, 1, GATHER.label)
    rows.write_bytes(row_of(0, json.dumps(VALUE | {"price": 13})))
    with pytest.raises(Failed, match="not the value"):
        check_rows(rows, 1, GATHER.label)


def test_the_family_of_a_process_are_its_children_and_theirs() -> None:
    program = "import subprocess, sys; subprocess.run(['cat'], stdin=sys.stdin, stdout=sys.stdout)"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        child.stdin.write(b"ready\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"ready\n"  # the grandchild runs
        found = family(child.pid)
        assert len(found) == 2
        assert found[0] == child.pid
        assert set(found) < set(family(os.getpid()))
        assert cpu_seconds(found) >= cpu_seconds([child.pid])
        child.stdin.close()
    assert family(0) == []

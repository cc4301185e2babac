"""The account: what its lines mean, also when they are torn."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace_rehearsal.account import Account, AccountedCall, in_flight_at, main, paid, paid_twice, read


def call(request_id: str | None = None, *, status: int | None = 200, **times: float) -> AccountedCall:
    return AccountedCall("run", 1, request_id, times.pop("received_at", 1.0), status=status, **times)


def test_account_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "account"
    account = Account(path)
    account.received(1, "a.1.1", size=10, key="k")
    account.received(2, None, size=20, key="k")
    account.finished(1, "a.1.1", status=200, size=30, tokens=5, first_byte_at=2.0)
    account.gone(2, None)
    account.close()
    first, second = read(path)
    assert (first.request_id, first.request_bytes, first.answer_bytes, first.tokens) == ("a.1.1", 10, 30, 5)
    assert (first.first_byte_at, first.status, first.gone_at) == (2.0, 200, None)
    assert (second.request_id, second.status, second.finished_at) == (None, None, None)
    assert second.gone_at == second.ended_at is not None


def test_half_a_line_is_skipped_and_not_joined_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "account"
    path.write_bytes(b'{"event":"received","run":"x","n":1,"at":1.0,"request_id":null}\n{"event":"fini')
    account = Account(path)
    account.received(1, "a.1.1", size=10, key="k")
    assert [(each.run, each.n) for each in read(path)] == [("x", 1), (account.run, 1)]
    account.close()


def test_each_write_reaches_the_file_at_once(tmp_path: Path) -> None:
    account = Account(tmp_path / "account")
    account.received(1, None, size=1, key="k")
    assert len(read(tmp_path / "account")) == 1
    account.close()


@pytest.mark.parametrize(("status", "charged"), [(200, True), (None, True), (400, False), (429, False), (500, False)])
def test_errors_are_not_paid_and_the_rest_is(status: int | None, charged: bool) -> None:
    assert paid(call(status=status)) is charged


def test_another_epoch_of_the_same_call_is_paid_twice_and_a_re_ask_is_not() -> None:
    ids = ["a.b.1.1", "a.b.2.1", "a.b.3.1", "a.b.3.2", "a.1.1", "other", None, "x.1.y", "x.2.y"]
    assert paid_twice(call(each) for each in ids) == 2
    assert paid_twice([call("a.1.1", status=500), call("a.2.1")]) == 0


def test_calls_in_flight_were_received_and_not_over() -> None:
    over, gone = call(finished_at=2.0), call(gone_at=4.0)
    later, open_still, cut = call(received_at=3.5), call(), call(cut_at=2.5)
    assert in_flight_at([over, gone, later, open_still, cut], 3.0) == [gone, open_still]
    assert over in in_flight_at([over], 2.0)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing")]) == 2
    assert "usage" in capsys.readouterr().err

"""Money: amounts are read as people write them, and refused with a reason; nano-USD survive the way through USD."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from headrace.errors import InputError
from headrace.spend.money import checked_budget, nano_of, nano_of_float, usd_of, usd_text


@pytest.mark.parametrize(
    ("written", "nano"),
    [
        ("5", 5 * 10**9),
        ("5.00", 5 * 10**9),
        (" 0.000000001 ", 1),
        (2.5, 2_500_000_000),
        (7, 7 * 10**9),
        (Decimal("0.1"), 10**8),
    ],
)
def test_reads_amounts(written: Any, nano: int) -> None:
    assert checked_budget(written, "--budget") == nano


@pytest.mark.parametrize("written", ["5 €", "€5", "5 EUR", "5eur", "£1"])
def test_refuses_other_currencies(written: str) -> None:
    with pytest.raises(InputError, match="US dollars"):
        checked_budget(written, "--budget")


@pytest.mark.parametrize(
    "written",
    [
        "0",
        "0.00",
        "-1",
        -1,
        "nan",
        float("nan"),
        float("inf"),
        "1e3",
        "5,00",
        "",
        "$",
        None,
        True,
        "0.0000000001",
        1e12,
        "٥",
    ],
)
def test_refuses_what_is_no_amount_above_zero(written: Any) -> None:
    with pytest.raises(InputError, match="--budget="):
        checked_budget(written, "--budget")


@pytest.mark.parametrize("nano", [0, 1, 12, 10**9 - 1, 123_456_789_012_345, 10**15])
def test_usd_gives_back_the_same_nano(nano: int) -> None:
    assert nano_of_float(usd_of(nano)) == nano


def test_rounds_once_half_to_even() -> None:
    assert [nano_of(Decimal(text)) for text in ("0.0000000005", "0.0000000015", "0.0000000025")] == [0, 2, 2]


@pytest.mark.parametrize(
    ("nano", "text"), [(0, "0.00"), (1_500_000_000, "1.50"), (12_000, "0.000012"), (-(10**7), "-0.01")]
)
def test_writes_amounts(nano: int, text: str) -> None:
    assert usd_text(nano) == text

"""The report of `make bench`: budgets, remarks, tables, plots, and the README's sentences."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.report.figures import Results, Row, Subject, dump, load, row, versus
from bench.report.files import derived, write
from bench.report.headline import filled, headline
from bench.report.markdown import table
from bench.report.plots import OURS, Bar, svg

ORDER = ["bulk", "chat", "million"]


def subject(name: str, *rows: Row, **more: object) -> Subject:
    return Subject(name, "2026-01-02", "abc1234", "a machine", rows, **more)  # type: ignore[arg-type]


BULK = subject(
    "bulk",
    row("items per CPU-second, headrace", 5000, "1/s"),
    row("items per CPU-second, gather & co", 500, "1/s"),
    row("items per CPU-second vs gather, default transport", 10, "ratio", 8.0),
)


@pytest.mark.parametrize(
    ("value", "budget", "at_most", "holds"),
    [
        (4.0, None, False, None),
        (4.0, 4.0, False, True),
        (3.9, 4.0, False, False),
        (4.0, 4.0, True, True),
        (4.1, 4.0, True, False),
    ],
)
def test_a_row_holds_its_budget_or_misses_it(
    value: float, budget: float | None, at_most: bool, holds: bool | None
) -> None:
    assert row("latency", value, "ms", budget, at_most=at_most).holds is holds


def test_a_budget_is_held_by_what_was_measured_and_not_by_what_is_shown() -> None:
    assert row("ratio", 7.9999, "ratio", 8.0).holds is False


def test_a_row_in_which_headrace_loses_says_why() -> None:
    assert versus("rate", 90, 100, why="it stores what it does").remark == "headrace loses: it stores what it does"
    assert versus("rate", 200, 100, 1.5, why="it stores what it does").remark == ""


def test_a_subject_that_was_not_measured_keeps_its_last_figures() -> None:
    before = Results([BULK, subject("chat", row("rate", 1, "1/s")), subject("gone", row("rate", 1, "1/s"))])
    fresh = subject("chat", row("rate", 2, "1/s"))
    after = before.with_subjects([fresh, subject("million", row("items", 3, ""))], ORDER)
    assert [each.name for each in after.subjects] == ORDER
    assert after.subjects[0] == BULK
    assert after.value("rate") == 2


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = Results([BULK])
    write(results, tmp_path)
    assert dump(load(tmp_path / "latest.json")) == dump(results)
    assert {path.name for path in tmp_path.iterdir()} == {"latest.json", "latest.md", "bulk.svg"}
    assert load(tmp_path / "absent.json").subjects == ()


def test_a_plot_that_is_no_longer_made_is_removed(tmp_path: Path) -> None:
    write(Results([BULK]), tmp_path)
    write(Results([subject("bulk", row("items per CPU-second, headrace", 5000, "1/s"))]), tmp_path)
    assert not (tmp_path / "bulk.svg").exists()


def test_the_table_names_what_was_measured_and_what_was_absent() -> None:
    absent = {"arq": "failed", "litellm": "no environment"}
    measured = subject("bulk", row("rate", 12345.6, "1/s", 20_000), versions={"celery": "5.7.0"}, absent=absent)
    text = table(Results([measured]))
    assert "Measured 2026-01-02 at abc1234 on a machine." in text
    assert "celery 5.7.0" in text
    assert "Absent: arq (failed), litellm (no environment)." in text
    assert "| rate | 12,346 1/s | ≥ 20,000 | **no** |" in text


def test_the_table_has_a_column_of_remarks_where_there_are_any() -> None:
    text = table(
        Results([subject("chat", versus("rate", 1, 2, why="it stores"), row("cpu", 2.5, "ms", 2.6, at_most=True))])
    )
    assert "| rate | 0.5 ratio |  |  | headrace loses: it stores |" in text
    assert "| cpu | 2.5 ms | ≤ 2.6 | yes |  |" in text
    assert "remark" not in table(Results([BULK]))


def test_a_plot_is_shown_below_its_table() -> None:
    assert "![Bulk extraction beside its peers](../bench/results/bulk.svg)" in table(
        Results([BULK]), images="../bench/results/"
    )


def test_the_longest_bar_is_the_largest_figure() -> None:
    root = ElementTree.fromstring(svg([("rate (1/s)", [Bar("headrace", 5000), Bar("gather & co", 500)])]))
    ours, theirs = root.findall("{*}rect")
    assert float(ours.attrib["width"]) == pytest.approx(10 * float(theirs.attrib["width"]), rel=0.01)
    assert ours.attrib["fill"] == OURS != theirs.attrib["fill"]
    texts = [text.text for text in root.findall("{*}text")]
    assert texts == ["rate (1/s)", "headrace", "5,000", "gather & co", "500"]


def test_bars_stay_within_the_picture() -> None:
    root = ElementTree.fromstring(svg([("a", [Bar("x", 0.0)]), ("b", [Bar("headrace", 10_000), Bar("y", 30_000)])]))
    for bar in root.findall("{*}rect"):
        x, y, width, height = (float(bar.attrib[name]) for name in ("x", "y", "width", "height"))
        assert width > 0
        assert x + width <= float(root.attrib["width"])
        assert y + height <= float(root.attrib["height"])


def test_figures_alone_are_not_drawn() -> None:
    assert list(derived(Results([subject("bulk", row("items per CPU-second, headrace", 1, "1/s"))]))) == ["latest.md"]


def test_the_headline_says_what_was_measured_and_no_more() -> None:
    assert "Celery" not in headline(Results([BULK]))
    assert "10 times those of `asyncio.gather` over `AsyncOpenAI`." in headline(Results([BULK]))
    assert headline(Results()).startswith("Each promise")


def test_the_headline_of_all_subjects() -> None:
    chat = subject(
        "chat",
        row("added latency of a plain chat, one in flight, p50, headrace", 3.38, "ms"),
        row("plain chats a second, 50 in flight, headrace", 512.3, "1/s"),
        row("CPU of a plain chat, headrace", 2.44, "ms"),
        row("CPU of a plain chat, LiteLLM's proxy", 6.1, "ms"),
    )
    million = subject(
        "million",
        row("items of the large batch", 1_000_000, ""),
        row("items a second, the large batch", 4321, "1/s"),
        row("Redis memory over idle, the large batch", 1.16, "MiB"),
        row("RSS of the worker, the large batch", 98.4, "MB"),
    )
    text = " ".join(headline(Results([BULK, chat, million])).split())
    assert "adds 3.4 ms; 512 a second at 50 in flight, at 2.4 ms of CPU each (LiteLLM's proxy: 6.1 ms)." in text
    assert (
        "A batch of 1,000,000 items goes through one worker at 4,321 a second, with 1.2 MiB in Redis and 98 MB" in text
    )


def test_a_marked_figure_of_a_text_is_filled_in() -> None:
    results = Results([subject("schemas", row("20 KB of text", 0.84, "ms"))])
    text = "in <!-- figure: 20 KB of text -->9 ms<!-- / -->, twice <!-- figure: 20 KB of text --><!-- / -->"
    done = "in <!-- figure: 20 KB of text -->0.8 ms<!-- / -->, twice <!-- figure: 20 KB of text -->0.8 ms<!-- / -->"
    assert filled(text, results) == done
    with pytest.raises(KeyError, match="no such row"):
        filled("<!-- figure: no such row -->1<!-- / -->", results)

"""The list of log events in `docs/logs.md`: whole, and every name a fixed text under its module's logger."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def log_events() -> ModuleType:
    spec = importlib.util.spec_from_file_location("log_events", DOCS / "log_events.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_event_is_listed_once_with_a_meaning(log_events: ModuleType) -> None:
    page = (DOCS / "logs.md").read_text()
    assert log_events.undocumented(page) == []
    assert log_events.table(page) in page, "run `python docs/generate.py`"


def test_a_new_event_is_undocumented_until_the_page_explains_it(
    log_events: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_events, "ROOT", tmp_path)
    module = tmp_path / "worker" / "headrace_worker" / "new.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        'log = get_logger("headrace.worker.new")\nlog.info("on" if up else "off", n=1)\nlog.error("off", why="")\n'
    )
    page = log_events.table("| `on` | info | | | it went on |")
    assert "| `on` | info | `worker.new` | `n` | it went on |" in page
    assert "| `off` | info, error | `worker.new` | `n`, `why` |  |" in page
    assert log_events.undocumented(page) == ["off"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            'log = get_logger("headrace.worker.old")',
            "is called headrace.worker.old, and not headrace.worker.new",
        ),
        ('log.warning(f"{name} failed")', "put together"),
        ("damage.tell_once(what, error)", "put together"),
    ],
)
def test_refuses_a_foreign_logger_and_an_event_that_varies(
    log_events: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.setattr(log_events, "ROOT", tmp_path)
    module = tmp_path / "worker" / "headrace_worker" / "new.py"
    module.parent.mkdir(parents=True)
    module.write_text(code)
    with pytest.raises(ValueError, match=said):
        log_events.lines()

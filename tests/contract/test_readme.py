"""What the README tells a newcomer to type is typed here, and what the docs point at is there."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(tag: str) -> list[str]:
    return re.findall(rf"```{tag}\n(.*?)```", README, re.DOTALL)


@pytest.mark.xdist_group("tour")
def test_the_tour(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tour,) = blocks("sh tour")
    done = subprocess.run(
        ["bash", "-c", f"set -eu\n{tour}"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == ["a", "b"]
    assert {row["value"]["verdict"] for row in rows} <= {"good", "bad", "mixed"}
    assert "Why is the sky blue?" in done.stdout
    assert not (tmp_path / ".headrace" / "up.json").exists()


@pytest.mark.xdist_group("demo")
def test_the_demo(tmp_path: Path) -> None:
    """`make demo` is this program, after the set-up that every target shares."""
    assert "examples/demo.py" in (ROOT / "Makefile").read_text()
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdict = json.loads((tmp_path / ".headrace" / "demo" / "report.json").read_text())
    assert verdict["items"] >= 60
    assert verdict["answered"] == verdict["items"]
    assert (verdict["lost"], verdict["finished_twice"]) == (0, 0)
    assert verdict["in_flight_at_kill"] > 0


def test_every_make_command_is_a_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {line.removeprefix("make ").strip() for block in blocks("sh") for line in block.splitlines() if line}
    assert named == {"demo", "test"}
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in named)


def test_every_promise_names_a_test_that_is_there() -> None:
    promised = re.findall(r"`((?:tests/|::)[^`]*)`", (ROOT / "docs" / "promises.md").read_text())
    assert len(promised) > 80
    file = ""
    for name in promised:
        path, *inside = name.split("::")
        file = path or file
        assert (ROOT / file).exists(), file
        assert not inside or is_there(ROOT / file, inside), name


def is_there(file: Path, names: list[str]) -> bool:
    """Whether a file of tests has that function, or that class with that method in it."""
    body: list[ast.stmt] = ast.parse(file.read_text()).body
    for name in names:
        found = [each for each in body if getattr(each, "name", None) == name]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return names[-1].startswith("test_")


def test_the_28_cases_of_streams_are_all_there() -> None:
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "promises.md").read_text(), re.MULTILINE)
    assert [int(row) for row in rows] == list(range(1, 29))


def test_every_link_of_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"

"""What the README tells a newcomer to type is typed here, and what the docs point at is there."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(tag: str) -> list[str]:
    return re.findall(rf"```{tag}\n(.*?)```", README, re.DOTALL)


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


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = [
    ROOT,
    *(ROOT / name for name in ("api", "providers", "rehearsal", "worker")),
    *(path.parent for path in ROOT.glob("*/headrace_*/__init__.py")),
    ROOT / "headrace",
]
"""What a path in the docs may be relative to: the repository, the folder of a package, or the package that is spoken of."""
IS_PATH = re.compile(r"[\w.*-]+(/[\w.*-]+)*/?")
SOURCES = (".py", ".lua", ".js", ".mjs", ".sh", ".md", ".toml", ".lock", ".*")


def paths_in(text: str) -> set[str]:
    """What stands in backticks and is the path of a source, a document, a folder or a module of ours, without its `::test`."""
    quoted = {each.partition("::")[0] for each in re.findall(r"`([^`\s]+)`", text)}
    folders = {folder.name for package in PACKAGES for folder in package.iterdir() if folder.is_dir()}
    folders -= {"rehearsal"}  # a provider of models, too: `rehearsal/small`
    return {
        path
        for path in quoted
        if IS_PATH.fullmatch(path)
        and ((path.endswith(SOURCES) and not path.startswith(".")) or ("/" in path and path.split("/")[0] in folders))
    }


def is_path(path: str) -> bool:
    """Whether a path, or a pattern, names something: below one of `PACKAGES`, as a module without its suffix, or, when it is
    a name alone, anywhere in them."""
    candidates = (path, f"{path}.py", f"{path}.lua")
    if any(next(package.glob(each.rstrip("/")), None) for package in PACKAGES for each in candidates):
        return True
    return "/" not in path and any(next(folder.rglob(path), None) for folder in (*PACKAGES[1:], ROOT / "tests"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_of_the_docs_is_there(page: Path) -> None:
    assert [path for path in sorted(paths_in(page.read_text())) if not is_path(path)] == []


def test_paths_are_told_from_models_and_files_of_users() -> None:
    text = "`openai/gpt-5-mini` `rows.jsonl` `headrace/ledger/gone.py` `ledger/submit` `gone.lua` `tests/unit/x.py::test_y`"
    assert paths_in(text) == {"headrace/ledger/gone.py", "ledger/submit", "gone.lua", "tests/unit/x.py"}
    assert {path for path in paths_in(text) if is_path(path)} == {"ledger/submit"}


def test_the_glossary_is_sorted_and_has_each_word_once() -> None:
    words = re.findall(r"^\| ([^|]+) \| [^|]+\|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)[1:]
    assert len(words) > 60
    assert words == sorted(set(words), key=str.lower)


def test_the_changelog_has_this_version_and_the_usual_sections() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    log = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(version)} - (unreleased|\d{{4}}-\d\d-\d\d)$", log, re.MULTILINE)
    sections = re.findall(r"^### (.*)$", log, re.MULTILINE)
    assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_tutorial_names_every_fundamental() -> None:
    named = re.findall(r"^\| `(tests/fundamentals/\w+\.py)`", (ROOT / "docs" / "testing.md").read_text(), re.MULTILINE)
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "fundamentals").glob("test_*.py")}
    assert sorted(named) == sorted(files)


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - {"index.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()

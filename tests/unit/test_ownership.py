"""What another user of the machine may have planted is named and not used; what is ours is closed to others."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.chat.provider_table import providers
from headrace.errors import HeadraceError, Unreachable, UntrustedFile
from headrace.guards.ownership import make_private, read_trusted, write_private
from headrace.guards.service_address import find_state_folder, read_ready, redis_url
from headrace.settings import Settings

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")

Plant = Callable[..., Path]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """A state folder with an `up.json` that names somebody's Redis, above a folder of ours; returns it."""

    def made(folder: int = 0o700, file: int = 0o600, **fields: Any) -> Path:
        state = tmp_path / ".headrace"
        state.mkdir()
        (state / "up.json").write_text(json.dumps({"pid": os.getpid(), "redis": "redis://10.0.0.1:6379"} | fields))
        (state / "up.json").chmod(file)
        state.chmod(folder)
        (tmp_path / "work").mkdir()
        return state

    return made


def where(state: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The service that a command in a folder below uses."""
    monkeypatch.chdir(state.parent / "work")
    return redis_url(Settings())


def test_our_own_is_used(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert where(plant(), monkeypatch) == "redis://10.0.0.1:6379"


@as_root
@pytest.mark.parametrize("which", [".", "up.json"])
def test_of_another_user_it_is_named_and_not_used(plant: Plant, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = plant()
    os.chown(state / which, NOBODY, NOBODY)
    with pytest.raises(UntrustedFile) as refused:
        where(state, monkeypatch)
    assert str((state / which).resolve()) in str(refused.value)
    assert "nobody (uid 65534), with the mode 0" in str(refused.value)
    assert "HEADRACE_REDIS_URL" in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("folder", "file"), [(0o777, 0o600), (0o1777, 0o600), (0o770, 0o600), (0o755, 0o666), (0o700, 0o620)]
)
def test_refuses_state_that_others_can_write(
    plant: Plant, folder: int, file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UntrustedFile, match=r"with the mode .*chmod go-w .*HEADRACE_REDIS_URL"):
        where(plant(folder, file), monkeypatch)


@pytest.mark.parametrize(
    "fields",
    [
        *({"pid": 0}, {"pid": -1}, {"pid": "1"}, {"pid": 2**70}, {"pid": True}),
        *({"redis": None}, {"redis": "http://h"}, {"redis": ["redis://h"]}),
    ],
)
def test_fields_that_are_none_mean_that_nothing_runs(
    plant: Plant, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unreachable, match="nothing runs on it"):
        where(plant(**fields), monkeypatch)


def test_a_link_to_a_file_elsewhere_is_not_followed(plant: Plant, tmp_path: Path) -> None:
    state = plant()
    (state / "up.json").rename(tmp_path / "elsewhere.json")
    (state / "up.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(UntrustedFile, match=r"up\.json is a symbolic link"):
        read_ready(state)


@as_root
def test_a_link_counts_by_its_owner_and_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    link = tmp_path / ".headrace"
    link.symlink_to(tmp_path / "real")
    assert find_state_folder(tmp_path) == link
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(UntrustedFile):
        find_state_folder(tmp_path)
    os.chown(link, 0, 0, follow_symlinks=False)
    os.chown(tmp_path / "real", NOBODY, NOBODY)
    with pytest.raises(UntrustedFile):
        find_state_folder(tmp_path)


def test_a_fifo_in_its_place_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "up.json", 0o600)
    with pytest.raises(UntrustedFile, match="no regular file"):
        read_trusted(tmp_path / "up.json", remedy="look")


@pytest.mark.parametrize("owner", [pytest.param(NOBODY, marks=as_root), None])
def test_a_socket_that_somebody_else_holds_is_not_talked_to(plant: Plant, tmp_path: Path, owner: int | None) -> None:
    folder = tmp_path / "hr-old"
    folder.mkdir(mode=0o700)
    state = plant(redis=f"unix://{folder}/s", embedded=True)
    if owner is None:
        assert read_ready(state) is None, "nobody listens there"
        return
    (folder / "s").touch(0o600)
    os.chown(folder, owner, owner)
    with pytest.raises(UntrustedFile):
        read_ready(state)


def test_a_folder_to_be_mended_is_found(plant: Plant) -> None:
    state = plant(0o775)
    assert find_state_folder(state.parent, to_mend=True) == state
    make_private(state)
    assert find_state_folder(state.parent) == state


@as_root
def test_the_search_does_not_walk_past_a_planted_folder(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = plant()
    nearer = tmp_path / "work" / ".headrace"
    nearer.mkdir()
    os.chown(nearer, NOBODY, NOBODY)
    with pytest.raises(UntrustedFile, match="work"):
        where(state, monkeypatch)


def test_a_folder_that_is_open_is_closed_with_all_that_is_in_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "valkey" / "deeper").mkdir(parents=True)
    (state / "valkey" / "deeper" / "aof").write_text("x")
    (state / "logs").symlink_to("/tmp")
    for path in (state, *state.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    mode_elsewhere = Path("/tmp").stat().st_mode
    assert make_private(state) == 4
    modes = [
        stat.S_IMODE(path.stat().st_mode) for path in (state, state / "valkey", state / "valkey" / "deeper" / "aof")
    ]
    assert modes == [0o700, 0o700, 0o600]
    assert Path("/tmp").stat().st_mode == mode_elsewhere
    assert make_private(state) == 0


def test_keeps_the_modes_of_foreign_files_and_their_folder(tmp_path: Path) -> None:
    """`headrace up --data .` is no reason to close somebody's project to their group."""
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "logs").mkdir()
    (project / "logs" / "bulk.log").touch()
    (project / "src" / "main.py").touch()
    for path in (project, *project.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert make_private(project, {"logs", "up.json"}) == 2
    found = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in (project, *project.rglob("*"))}
    assert found == {"project": "0o755", "src": "0o755", "main.py": "0o644", "logs": "0o700", "bulk.log": "0o600"}
    project.chmod(0o777)
    with pytest.raises(UntrustedFile, match=r"not headrace's \(as src\): `chmod go-w"):
        make_private(project, {"logs", "up.json"})


@as_root
def test_refuses_foreign_files_in_an_open_folder(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    (state / "stream.secret").write_text("known to others\n")
    os.chown(state / "stream.secret", NOBODY, NOBODY)
    with pytest.raises(UntrustedFile, match=r"stream\.secret belongs to the user nobody.*--data DIR"):
        make_private(state)
    os.chown(state, NOBODY, NOBODY)
    with pytest.raises(UntrustedFile, match=r"--data DIR"):
        make_private(state)


def test_a_private_file_follows_no_link_and_is_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    (tmp_path / "ready.json").symlink_to(tmp_path / "mine")
    before = os.umask(0)
    try:
        write_private(tmp_path / "ready.json", "{}")
    finally:
        os.umask(before)
    assert (tmp_path / "mine").read_text() == "keep"
    assert (tmp_path / "ready.json").read_text() == "{}"
    assert stat.S_IMODE((tmp_path / "ready.json").lstat().st_mode) == 0o600
    with pytest.raises(OSError, match="No such file"):
        write_private(tmp_path / "none" / "ready.json", "{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "ready.json"]


@pytest.mark.parametrize(("mode", "used"), [(0o644, True), (0o664, True), (0o646, False)])
def test_providers_that_everybody_may_write_are_not_read(tmp_path: Path, mode: int, used: bool) -> None:
    """They say where keys are sent."""
    file = tmp_path / "providers.json"
    file.write_text('{"own": {"base_url": "https://h.example/v1"}}')
    file.chmod(mode)
    if used:
        assert "own" in providers({"HEADRACE_PROVIDERS": str(file)})
    else:
        with pytest.raises(HeadraceError, match=r"HEADRACE_PROVIDERS.*chmod o-w"):
            providers({"HEADRACE_PROVIDERS": str(file)})


def test_providers_from_a_pipe_are_read(tmp_path: Path) -> None:
    """As `HEADRACE_PROVIDERS=<(jq …)` gives them: nobody writes into it afterwards."""
    reader, writer = os.pipe()
    os.write(writer, b'{"own": {"base_url": "https://h.example/v1"}}')
    os.close(writer)
    try:
        assert "own" in providers({"HEADRACE_PROVIDERS": f"/dev/fd/{reader}"})
    finally:
        os.close(reader)
    with pytest.raises(HeadraceError, match="truncated"):
        providers({"HEADRACE_PROVIDERS": os.devnull})

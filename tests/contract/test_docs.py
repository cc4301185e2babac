"""What the docs and the examples tell people to type is typed here, on a running service."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from headrace_providers import Model
from media_files import ENCRYPTED_PDF, image, pdf
from stack import Stack, started, until

from headrace.chat.model_aliases import resolve
from headrace.chat.routing import Routing
from headrace.local.ports import free_port

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("docs")) as stack:
        yield stack


@pytest.fixture
def environment(stack: Stack) -> dict[str, str]:
    """What a shell has in which `.venv` is active and the service is known."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**stack.client_environment, "PATH": path}


def snippets(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def done(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What `command` prints; it has to succeed."""
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


def test_from_python(tmp_path: Path, environment: dict[str, str]) -> None:
    program = "\n".join(snippets("python.md", "python"))
    said = done([sys.executable, "-c", program], tmp_path, environment)
    assert "completed 2 0" in said
    assert "not_found" in said
    assert (tmp_path / "reviews.csv").read_text().startswith("custom_id,product,stars")


def test_providers_through_the_queue(tmp_path: Path, environment: dict[str, str]) -> None:
    (program,) = snippets("providers.md", "sh")
    called, thought = done(["bash", "-c", f"set -euo pipefail\n{program}"], tmp_path, environment).splitlines()
    assert json.loads(called)["function"]["name"] == "weather"
    completion = json.loads(thought)
    assert completion["reasoning"]
    assert completion["deployment"] == "vllm"


def test_providers_called_directly(tmp_path: Path, stack: Stack, environment: dict[str, str]) -> None:
    program = "\n".join(snippets("providers.md", "python"))
    said = done(
        [sys.executable, "-c", program], tmp_path, {**environment, "REHEARSAL_URL": stack.ready["rehearsal"]}
    ).splitlines()
    assert said[0].startswith("weather {")
    assert said[1].startswith("text_generation ")
    assert said[1].endswith(" True end_turn")
    assert said[2] == "True"
    assert said[3].endswith(" True")
    assert said[4] == "second"


def test_schemas(tmp_path: Path, environment: dict[str, str]) -> None:
    (program,) = snippets("schemas.md", "python")
    said = done([sys.executable, "-c", program], tmp_path, environment).splitlines()
    assert said[0].startswith("Owner ")
    assert said[1] == "{'entries': [{'key': 'roll', 'value': 2}]}"
    assert any("a map travels as a list of entries" in line for line in said)
    (program,) = snippets("schemas.md", "sh")
    said = done(["bash", "-c", f"set -euo pipefail\n{program}"], tmp_path, environment).splitlines()
    assert said[-1] == "exit code 1"
    assert json.loads((tmp_path / "rows.jsonl").read_text())["value"]["name"]


def test_spend(tmp_path: Path, stack: Stack, environment: dict[str, str]) -> None:
    before = len(stack.calls())
    once, again, *_, prefix = snippets("spend.md", "sh")  # that of limits: test_limits.py
    said = done(["bash", "-c", f"set -euo pipefail\n{once}"], tmp_path, environment).splitlines()
    assert len(stack.calls()) - before == 4
    assert json.loads(said[0])["cached"] == 6
    assert said[1].endswith(" calls saved")
    rows = (tmp_path / "sums.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[2] for row in rows[:3]] == [row.partition(",")[2] for row in rows[3:6]]
    done(["bash", "-c", f"set -euo pipefail\n{again}"], tmp_path, environment)
    assert len(stack.calls()) - before == 8
    shown = done(["bash", "-c", f"set -euo pipefail\n{prefix}"], tmp_path, environment)
    assert '"cached_share"' in shown
    before = len(stack.calls()) - 8
    (program,) = (snippet for snippet in snippets("spend.md", "sh") if "forecast" in snippet)
    done(["bash", "-c", f"set -euo pipefail\n{program}"], tmp_path, environment)
    guessed, sampled = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("guessed", "tried"))
    assert (guessed["forecast"]["calls"], sampled["forecast"]["sampled"]) == (50, 20)
    assert len(stack.calls()) - before == 58
    before += 50
    (program,) = (snippet for snippet in snippets("spend.md", "sh") if "--economy" in snippet)
    done(["bash", "-c", f"set -euo pipefail\n{program}"], tmp_path, environment)
    assert len(stack.calls()) - before == 11
    shown = next(snippet for snippet in snippets("spend.md", "sh") if snippet.startswith("headrace spend"))
    said = done(["bash", "-c", f"set -euo pipefail\n{shown}"], tmp_path, environment).splitlines()
    assert json.loads(said[-1])["total"]["calls"] >= 8


def test_budgets(tmp_path: Path, environment: dict[str, str]) -> None:
    (prices,) = (snippet for snippet in snippets("spend.md", "json") if "context_length" in snippet)
    (program,) = (snippet for snippet in snippets("spend.md", "sh") if "--budget" in snippet)
    (tmp_path / "prices.json").write_text(prices)
    (tmp_path / "prices.json").chmod(0o600)
    profiles = {"HEADRACE_PROFILES": str(tmp_path / "prices.json")}
    with started(tmp_path / "service", "--no-flower", environment=profiles) as stack:
        environment = {**environment, **stack.client_environment, "PATH": environment["PATH"]}
        said = done(["timeout", "100", "bash", "-c", f"set -euo pipefail\n{program}"], tmp_path, environment)
    assert said.splitlines()[0] == "in_progress"
    assert "20.00 USD left" in said
    assert len((tmp_path / "priced.csv").read_text().splitlines()) == 201


def test_streams(tmp_path: Path, stack: Stack, environment: dict[str, str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here: what streaming.md tells people to type is not tried")
    environment = environment | {"GATEWAY": stack.ready["gateway"]}
    program = "set -euo pipefail\n" + "\n".join(snippets("streaming.md", "sh"))
    said = done(["bash", "-c", program], tmp_path, environment)
    assert said.count('"t":"end"') == 2, "watched, and resumed"
    assert said.count('"t":"attempt.start"') == 1, "resumed after it"
    assert '"code":"finished"' in said
    job = json.loads((tmp_path / "job.json").read_text())["id"]
    (program,) = snippets("streaming.md", "python")
    told, *text = done([sys.executable, "-c", program], tmp_path, environment).splitlines()
    assert told.startswith("job_")
    assert "Why is the sky blue?" in "".join(text)
    if shutil.which("node") is None:
        pytest.skip("no node here: the program for headrace.js is not tried")
    (program,) = snippets("streaming.md", "js")
    (tmp_path / "watch.mjs").write_text(program)
    said = done(["node", "watch.mjs", environment["GATEWAY"], job], tmp_path, environment)
    assert said.rstrip().endswith(" succeeded")


def test_settings_of_providers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    registered, aliases, routed, profiles = snippets("providers.md", "json")
    monkeypatch.setenv("HEADRACE_PROVIDERS", registered)
    monkeypatch.setenv("HEADRACE_MODELS", aliases)
    assert resolve("fast").fallbacks == ["openrouter/qwen/qwen3-32b"]
    monkeypatch.setenv("HEADRACE_MODELS", routed)
    assert resolve("fast").routing == Routing([3, 1, 1], [0, 0, 1])
    monkeypatch.setenv("LLAMA_KEY", "secret")
    (tmp_path / "profiles.json").write_text(profiles)
    monkeypatch.setenv("HEADRACE_PROFILES", str(tmp_path / "profiles.json"))
    assert Model.chat_completion("llama/any-model").base_url == "http://127.0.0.1:8080/v1"
    profile = Model.chat_completion("vllm/qwen").profile()
    assert profile
    assert profile.context_length == 32768


def test_the_readmes_first_program(tmp_path: Path, environment: dict[str, str]) -> None:
    """Eight lines, and the output that stands below them."""
    readme = (ROOT / "README.md").read_text()
    ((program, output),) = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", readme, re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 8
    assert done([sys.executable, "-c", program], tmp_path, environment) == output


def test_from_the_shell(tmp_path: Path, environment: dict[str, str]) -> None:
    program = "set -euo pipefail\n" + "\n".join(snippets("shell.md", "sh"))
    said = done(["bash", "-c", program], tmp_path, environment)
    assert '"input_tokens_estimated"' in said
    assert (tmp_path / "rows.csv").read_text().startswith("custom_id,summary,verdict\na,")
    assert [json.loads(line)["custom_id"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == ["a", "b"]
    assert "Two stars" in (tmp_path / "row.jsonl").read_text()


def test_a_flower_of_your_own(tmp_path: Path, environment: dict[str, str]) -> None:
    (command,) = snippets("flower.md", "sh")
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        line = command.strip().replace("celery ", "exec celery ", 1)
        process = subprocess.Popen(["bash", "-c", f"{line} --port={port}"], env=environment, stdout=log, stderr=log)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/healthcheck"), what="it answers")
        assert "secret" not in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert not answers(f"http://127.0.0.1:{port}/metrics"), "it asks for its password"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_the_first_example(tmp_path: Path, environment: dict[str, str]) -> None:
    said = done([sys.executable, str(EXAMPLES / "extract_reviews.py")], tmp_path, environment)
    assert len(said.splitlines()) == 2
    assert {line.split()[1] for line in said.splitlines()} <= {"good", "bad", "mixed"}


def test_a_newcomers_first_extraction_takes_ten_lines() -> None:
    """The model and the call: what has to be written, with no line for comments, texts or printing."""
    (first, *_) = snippets("python.md", "python")
    assert len([line for line in first.splitlines() if line.strip()]) <= 10


def test_a_folder_of_texts(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "one.txt").write_text("Water boils at a hundred degrees.")
    (folder / "two.md").write_text("# Rain\n\nIt falls mainly on the plain.")
    said = done([str(EXAMPLES / "folder_of_texts.sh"), str(folder), "out.csv"], tmp_path, environment)
    assert "Water boils" in said  # the dry run's first prompt
    table = (tmp_path / "out.csv").read_text().splitlines()
    assert table[0] == "custom_id,title,summary,topics"
    assert [line.split(",")[0] for line in table[1:]] == ["one.txt", "two.md"]


def test_tables(tmp_path: Path, environment: dict[str, str]) -> None:
    program, prompts, media = snippets("data.md", "sh")
    said = done(["bash", "-c", f"set -euo pipefail\n{program}"], tmp_path, environment)
    assert "field `text`, which the prompt names, is missing" in said
    table = pq.read_table(tmp_path / "ratings.parquet")
    assert table.schema.names == ["custom_id", "sku", "price", "text", "stars", "words"]
    assert table.column("price").to_pylist() == ["12.50", "3.00"], "a CSV has texts"
    assert (tmp_path / "back.csv").read_text().startswith("custom_id,price,stars,value\nA1,12.50,")
    week = gzip.decompress((tmp_path / "week.jsonl.gz").read_bytes()).decode().splitlines()
    assert [json.loads(line)["kept"]["sku"] for line in week] == ["A1", "A2", "A3"]
    assert (tmp_path / "excel.csv").read_bytes().startswith(b"\xef\xbb\xbfcustom_id;price;stars;words\r\nA1;12.50;")
    done(["bash", "-c", f"set -euo pipefail\n{prompts}"], tmp_path, environment)
    for name in ("rated", "jinja", "own"):
        assert json.loads((tmp_path / f"{name}.jsonl").read_text())["value"]["stars"] is not None
    done(["bash", "-c", f"set -euo pipefail\n{media}"], tmp_path, environment)
    assert [line.split(",")[1] for line in (tmp_path / "totals.csv").read_text().splitlines()] == [
        *("path", "0.jpg", "1.jpg", "2.jpg")
    ]
    assert len((tmp_path / "index-totals.csv").read_text().splitlines()) == 3
    program, images = snippets("data.md", "python")
    assert done([sys.executable, "-c", images], tmp_path, environment) == "[('0', True), ('1', True), ('2', True)]\n"
    names, words = done([sys.executable, "-c", program], tmp_path, environment).splitlines()
    assert names == "['custom_id', 'price', 'stars', 'words', 'error.code', 'error.message']"
    assert words == "List(String)"
    assert (tmp_path / "ratings.csv.zst").exists()


def test_a_table_to_parquet(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "reviews.csv").write_text("sku,text,price\nA1,Fine.,1.10\nA2,Good.\nA3,Bad.,2.00\n")
    said = done([str(EXAMPLES / "csv_to_parquet.sh"), "reviews.csv", "out.parquet"], tmp_path, environment)
    right = (
        "2 rows: custom_id string, sku string, text string, price string, stars int64, defects list<element: string>, "
    )
    assert said.splitlines()[-1] == right + "bought date32[day]"
    errors = pq.read_table(tmp_path / "out.errors.parquet")
    assert errors.column("custom_id").to_pylist() == ["line-3"]


def test_receipts_to_records(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "receipts"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(image("JPEG", (60, 80)))
    (folder / "page.png").write_text("<html>404")
    said = done(
        [sys.executable, str(EXAMPLES / "receipts_to_records.py"), "receipts", "out.parquet"], tmp_path, environment
    )
    assert said.startswith("3 receipts, ")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column("path").to_pylist() == ["0.jpg", "1.jpg", "2.jpg"]
    assert str(table.schema.field("day").type) == "date32[day]"
    assert pq.read_table(tmp_path / "out.errors.parquet").column("custom_id").to_pylist() == ["page.png"]


def test_a_folder_of_pdf_files(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "pdfs"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(pdf("A sells to B"))
    (folder / "b.pdf").write_bytes(pdf("C rents to D", "Signed"))
    (folder / "c.pdf").write_bytes(ENCRYPTED_PDF)
    for form in ("text", "images"):
        program = [str(EXAMPLES / "folder_of_pdfs.sh"), str(folder), f"{form}.csv"]
        done(program, tmp_path, environment | {"PDF_AS": form})
        rows = (tmp_path / f"{form}.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in rows] == ["custom_id", "a.pdf", "b.pdf"]
        assert "c.pdf: is a PDF with a password" in (tmp_path / f"{form}.errors.csv").read_text()


def test_a_notebook_over_a_data_frame(tmp_path: Path, environment: dict[str, str]) -> None:
    cells = json.loads((EXAMPLES / "dataframe.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    shown = "print(ratings.columns.tolist(), len(rated), rated['price'].tolist(), rated['stars'].notna().all())"
    said = done([sys.executable, "-c", "\n".join([*code, shown])], tmp_path, environment).splitlines()[-1]
    assert said.startswith("['custom_id', 'price', 'complaints', 'stars', ")
    assert said.endswith("] 3 [12.5, 3.0, 8.25] True")


def test_submit_in_one_process_and_fetch_in_another(tmp_path: Path, environment: dict[str, str]) -> None:
    program = [sys.executable, str(EXAMPLES / "submit_and_fetch.py")]
    job_id = done([*program, "submit", "Why is the sky blue?"], tmp_path, environment).strip()
    assert "Why is the sky blue?" in done([*program, "fetch", job_id], tmp_path, environment)
    assert done([*program, "submit", "Why is the sky blue?"], tmp_path, environment).strip() == job_id


def test_a_web_endpoint(tmp_path: Path, environment: dict[str, str]) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.set_inheritable(True)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/questions"
        arguments = ["--app-dir", str(EXAMPLES), "web_endpoint:app", "--fd", str(listening.fileno())]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", *arguments],
                env=environment,
                pass_fds=[listening.fileno()],
                stdout=log,
                stderr=log,
            )
    try:
        job_id = until(lambda: posted(url, {"question": "Why?"}), what="it takes a question")["id"]
        assert fetched(f"{url}/{job_id}?wait_s=30")["answer"]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetched(f"{url}/job_nothing")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=5))
    except OSError:
        return False


def posted(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        return fetched(request)
    except (urllib.error.URLError, ConnectionError):
        return None


def fetched(request: Any) -> Any:
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)

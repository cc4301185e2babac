"""Whatever lies there as INPUT or under `--out` is taken, or refused in words that name it; nothing is overwritten."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.cli.extract import extract
from headrace.errors import HeadraceError, InputError

SHAPES: dict[str, bytes] = {
    "empty": b"",
    "blank": b"\n \n\t\n",
    "a line": b'{"text": "x"}\n',
    "no line feed": b'{"text": "x"}',
    "carriage returns": b'{"text": "x"}\r\n{"text": "y"}\r\n',
    "a mark": b'\xef\xbb\xbf{"text": "x"}\n',
    "only a mark": b"\xef\xbb\xbf",
    "UTF-16": '{"text": "x"}\n'.encode("utf-16"),
    "half a UTF-16 sign": b"\xff\xfe{",
    "latin-1": b'{"text": "caf\xe9"}\n',
    "a lone surrogate": b'{"text": "\\ud83d"}\n',
    "an encoded surrogate": b'{"text": "\xed\xa0\xbd"}\n',
    "a NUL": b'{"text": "\\u0000"}\n\0\n',
    "broken": b'{"text": \n',
    "a list": b'[{"text": "x"}]\n',
    "pretty JSON": b'{\n  "text": "x"\n}\n',
    "NaN": b'{"text": NaN}\n',
    "a huge number": b'{"text": 1e999999}\n{"text": ' + b"9" * 6000 + b"}\n",
    "null": b'{"text": null}\n',
    "deep": b'{"text": ' + b"[" * 5000 + b"]" * 5000 + b"}\n",
    "a long line": b'{"text": "' + b"x" * (1 << 20) + b'"}\n',
    "ids": b'{"id": 1, "text": "x"}\n{"id": 1, "text": "y"}\n',
    "odd ids": b'{"id": {}, "text": "x"}\n{"id": 1.5, "text": "x"}\n{"id": true, "text": "x"}\n{"id": "", "text": "x"}\n',
    "a body": b'{"custom_id": "a", "body": {"messages": [{"role": "user", "content": "x"}]}}\n',
    "an odd body": b'{"custom_id": "a", "url": [], "method": {}, "body": {"messages": {"a": 1}, "tools": 7, "n": {}}}\n',
    "a body with a huge number": b'{"body": {"messages": [], "temperature": 1e999}}\n',
    "a table": b"id,text\n1,x\n",
    "a sep= line": b"sep=;\nid;text\n1;x\n",
    "only a sep= line": b"sep=;",
    "a header": b"id,text\n",
    "a ragged table": b"id,text\n1\n1,2,3\n",
    "an open quote": b'id,text\n1,"x\n',
    "a quote inside": b'id,text\n1,"x" y\n',
    "twice the same name": b"text,text\n1,2\n",
    "no names": b",,\n1,2,3\n",
    "quotes and delimiters": b'";;;,text",text\n1,2\n',
    "a workbook": b"PK\x03\x04\x14\x00",
    "Parquet": b"PAR1\x15\x04",
    "gzip": b"\x1f\x8b\x08\x00",
    "bytes": bytes(range(256)),
}
NAMES = ["in.jsonl", "in.csv", "in.tsv", "in.txt", "in", "in.xlsx", "in.CSV"]
OUTS = [
    "in.jsonl",
    "in.csv",
    "link.jsonl",
    "hard.csv",
    "new.jsonl",
    "old.jsonl",
    "new.xlsx",
    "folder",
    "pipe.csv",
    "no/x.csv",
]
FLAGS = ["--force", "--whole", "--limit=1", "--sample=1", "--encoding=latin-1", "--encoding=utf-16"]
PROMPTS = ["{text}", "{text} {id}", "nothing", "{", "@prompt.txt", "@nowhere", ""]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from(NAMES),
    st.sampled_from(OUTS),
    st.sampled_from(PROMPTS),
    st.sampled_from(["refuse", "skip", "send"]),
    st.lists(
        st.sampled_from(FLAGS),
        max_size=3,
    ),
)
def test_any_input_is_taken_or_refused_in_words(
    shape: str, name: str, out: str, prompt: str, empty: str, flags: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = folder / name
        source.write_bytes(SHAPES[shape])
        (folder / "link.jsonl").symlink_to(source)
        os.link(source, folder / "hard.csv")
        (folder / "old.jsonl").write_text("mine")
        (folder / "folder").mkdir()
        os.mkfifo(folder / "pipe.csv")
        (folder / "prompt.txt").write_text("Of {text}\n")
        before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        if prompt.startswith("@"):
            prompt = f"@{folder / prompt[1:]}"
        words = [str(source), "--model=rehearsal/small", "--dry-run", f"--out={folder / out}", f"--prompt={prompt}"]
        done = CliRunner().invoke(extract, [*words, f"--on-empty={empty}", *flags])
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
        same = out == name or out in {"link.jsonl", "hard.csv"}
        if (
            same
            or (out == "old.jsonl" and "--force" not in flags)
            or out in {"new.xlsx", "folder", "pipe.csv", "no/x.csv"}
        ):
            assert isinstance(done.exception, InputError) or done.exit_code == 2, done.exception
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            assert isinstance(done.exception, HeadraceError), repr(done.exception)
            said = str(done.exception)
            assert temporary in said or "--prompt" in said or "prompt=" in said, said

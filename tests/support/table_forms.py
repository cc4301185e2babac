"""One table in every form that `extract` takes."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

PROMPT = "{sku} {text} {n} {price} {weight} {ok} {day} {seen}"
TYPES = {
    "sku": pa.string(),
    "text": pa.string(),
    "n": pa.int64(),
    "price": pa.decimal128(12, 2),
    "weight": pa.float64(),
    "ok": pa.bool_(),
    "day": pa.date32(),
    "seen": pa.timestamp("us", "UTC"),
}


@cache
def values(count: int) -> list[dict[str, Any]]:
    return [
        {
            "sku": f"A-{n}",
            "text": f'Größe "{n}", 20 % off;\tsee: https://a.b/{n}' + ("\nsecond line" if n % 3 else ""),
            "n": (-1) ** n * n * 1_000_003,
            "price": (Decimal(n * 10) / 100).quantize(Decimal("0.01")),
            "weight": n / 7 + 0.5,
            "ok": n % 2 == 0,
            "day": dt.date(1999, 12, 31) + dt.timedelta(n),
            "seen": dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC) + dt.timedelta(seconds=n, microseconds=n % 5 * 250),
        }
        for n in range(count)
    ]


def texts(row: dict[str, Any]) -> dict[str, str]:
    """The values of a row as its prompt has them."""
    return {
        **row,
        "n": str(row["n"]),
        "price": f"{row['price']:.2f}",
        "weight": repr(row["weight"]),
        "ok": json.dumps(row["ok"]),
        "day": row["day"].isoformat(),
        "seen": row["seen"].isoformat().replace("+00:00", "Z"),
    }


@cache
def prompts(count: int) -> list[str]:
    return [PROMPT.format(**texts(row)) for row in values(count)]


@cache
def as_arrow(count: int) -> pa.Table:
    rows = values(count)
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items()})


@cache
def json_lines(count: int) -> list[str]:
    lines = []
    for row in values(count):
        said = texts(row)
        numbers = ("n", "price", "weight", "ok")
        lines.append(
            "{" + ", ".join(f"{json.dumps(k)}: {v if k in numbers else json.dumps(v)}" for k, v in said.items()) + "}"
        )
    return lines


@cache
def csv_text(count: int, delimiter: str = ",") -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(TYPES), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(map(texts, values(count)))
    return file.getvalue()


def written(path: Path, data: str) -> Path:
    raw = data.encode()
    if path.suffix == ".gz":
        raw = gzip.compress(raw)
    elif path.suffix == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(raw)
        raw = sink.getvalue().to_pybytes()
    path.write_bytes(raw)
    return path


def pandas_frame(count: int) -> Any:
    import pandas

    return pandas.DataFrame(values(count))


def polars_frame(count: int) -> Any:
    import polars

    return polars.from_arrow(as_arrow(count))


def duckdb_relation(count: int) -> Any:
    import duckdb

    return duckdb.connect().from_arrow(as_arrow(count))


def parquet_file(folder: Path, count: int) -> Path:
    pq.write_table(as_arrow(count), folder / "in.parquet", row_group_size=700)
    return folder / "in.parquet"


def feather_file(folder: Path, count: int) -> Path:
    feather.write_feather(as_arrow(count), str(folder / "in.feather"))
    return folder / "in.feather"


def stream_file(folder: Path, count: int) -> Path:
    with pa.OSFile(str(folder / "in.arrows"), "wb") as file, pa.ipc.new_stream(file, as_arrow(0).schema) as writer:
        writer.write_table(as_arrow(count), max_chunksize=500)
    return folder / "in.arrows"


def several_files(folder: Path, count: int) -> str:
    table = as_arrow(count)
    for part in range(4):
        size = -(-count // 4)
        pq.write_table(table.slice(part * size, size), folder / f"part-{part}.parquet")
    return str(folder / "part-*.parquet")


FORMS: dict[str, Callable[[Path, int], Any]] = {
    "pandas": lambda _, count: pandas_frame(count),
    "Polars": lambda _, count: polars_frame(count),
    "PyArrow": lambda _, count: as_arrow(count),
    "DuckDB": lambda _, count: duckdb_relation(count),
    "columns": lambda _, count: as_arrow(count).to_pydict(),
    "Parquet": parquet_file,
    "Feather": feather_file,
    "Arrow stream": stream_file,
    "pattern": several_files,
    "CSV": lambda folder, count: written(folder / "in.csv", csv_text(count)),
    "TSV": lambda folder, count: written(folder / "in.tsv", csv_text(count, "\t")),
    "CSV.gz": lambda folder, count: written(folder / "in.csv.gz", csv_text(count)),
    "JSONL": lambda folder, count: written(folder / "in.jsonl", "\n".join(json_lines(count))),
    "JSONL.gz": lambda folder, count: written(folder / "in.jsonl.gz", "\n".join(json_lines(count))),
    "JSONL.zst": lambda folder, count: written(folder / "in.jsonl.zst", "\n".join(json_lines(count))),
    "JSON array": lambda folder, count: written(folder / "in.json", "[\n" + ",\n".join(json_lines(count)) + "\n]\n"),
}

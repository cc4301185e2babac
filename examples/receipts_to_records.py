"""A folder of pictures of receipts becomes a table of typed records.

With a service running: `python examples/receipts_to_records.py FOLDER OUT.csv` (.jsonl, .csv, or .parquet). Files that are no
pictures become error lines beside the table. Run again it joins the same batch, or pays only for what failed.
"""

import datetime as dt
import os
import sys
from pathlib import Path

import msgspec

from headrace import Headrace


class Line(msgspec.Struct):
    what: str
    price: float


class Receipt(msgspec.Struct):
    """What stands on a receipt."""

    shop: str
    day: dt.date | None
    lines: list[Line]
    total: float
    currency: str


def main(folder: Path, out: Path) -> None:
    with Headrace() as client:
        batch = client.extract(
            folder,
            "Read this receipt. Amounts are numbers; the day is ISO 8601, or null where none is printed.",
            schema=Receipt,
            model=os.environ.get("MODEL", "rehearsal/small"),
            keep="path",
            image_size=1600,  # longest side in pixels: enough for small print, and a tenth of the bytes
            on_bad_row="error",
        )
        batch.wait()
        errors = batch.save(out)
        receipts = [row.value for row in batch.results() if row.ok]
        print(f"{len(receipts)} receipts, {sum(len(receipt.lines) for receipt in receipts)} lines, in {out}")
        if errors is not None:
            print(f"what could not be read: {errors}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

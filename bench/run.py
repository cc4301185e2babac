"""All benchmarks: prints the table and writes `bench/results/latest.json`, a list of `{name, value, unit, budget, holds}`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bulk
import gateway_streams
import provider
import schemas
import sdk
import streams

RESULTS = Path(__file__).parent / "results" / "latest.json"


def main() -> int:
    rows = [*sdk.rows(), *provider.rows(), *schemas.rows(), *streams.rows(), *gateway_streams.rows(), *bulk.rows()]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    for each in rows:
        budget = (
            "" if each["budget"] is None else f"  budget {each['budget']}: {'holds' if each['holds'] else 'MISSED'}"
        )
        print(f"{each['name']:60} {each['value']:>10} {each['unit']:6}{budget}")
    return 0 if all(each["holds"] is not False for each in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

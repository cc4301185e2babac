#!/usr/bin/env bash
# A table of reviews becomes a table of ratings that keeps the columns it came with.
# With a service running: examples/csv_to_parquet.sh REVIEWS.csv OUT.parquet   (a column `text`, and a column `sku` of ids)
set -eu
reviews=${1:?a table with the columns sku and text: .csv, .jsonl, .parquet, …, or a pattern in quotes}
out=${2:?where the rows go, for example ratings.parquet}

schema=$(mktemp -d)/rating.json  # its name goes to the model: the same each time, so that a batch is known again
trap 'rm -r "${schema%/*}"' EXIT
cat > "$schema" <<'END'
{"type": "object", "additionalProperties": false, "required": ["stars", "defects", "bought"],
 "properties": {"stars": {"type": "integer"},
                "defects": {"type": "array", "items": {"type": "string"}},
                "bought": {"type": ["string", "null"], "format": "date"}}}
END

# A row that cannot be used becomes an error beside the results, instead of stopping all others.
headrace extract "$reviews" --prompt "Rate this review: {text}" --schema "$schema" --model "${MODEL:-rehearsal/small}" \
    --id sku --keep all --on-bad-row error --out "$out" || test $? -eq 1
python - "$out" <<'END'
import sys
import pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
print(table.num_rows, "rows:", ", ".join(f"{field.name} {field.type}" for field in table.schema))
END

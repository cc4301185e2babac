#!/usr/bin/env bash
# A nightly job: the tables that came into a bucket on a day become one table of ratings beside them.
# With a service running, and the bucket's credentials in the environment: examples/nightly_s3_job.sh s3://BUCKET/reviews [DAY]
# Needs the extras `data` and `s3`. Run again it does nothing twice: what is open is joined, of what has failed only that is paid.
set -eu
bucket=${1:?where the tables lie: those of a day in BUCKET/DAY/*.parquet, with the columns sku and text}
day=${2:-$(date -u -d yesterday +%F)}

schema=$(mktemp -d)/rating.json  # its name goes to the model: the same each time, so that a batch is known again
trap 'rm -r "${schema%/*}"' EXIT
cat > "$schema" <<'END'
{"type": "object", "additionalProperties": false, "required": ["stars", "defects"],
 "properties": {"stars": {"type": "integer"}, "defects": {"type": "array", "items": {"type": "string"}}}}
END

# Exit code 1: some rows failed, and lie beside the others in ratings-DAY.errors.parquet.
headrace extract "$bucket/$day/*.parquet" --prompt "Rate this review: {text}" --schema "$schema" \
    --model "${MODEL:-rehearsal/small}" --id sku --keep all --on-bad-row error --out "$bucket/ratings-$day.parquet" || test $? -eq 1

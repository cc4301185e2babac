#!/usr/bin/env bash
# Every text of a folder becomes a row of a table. With a service running: examples/folder_of_texts.sh FOLDER OUT.csv
set -eu
folder=${1:?a folder of .txt or .md files}
out=${2:?where the table goes, for example summaries.csv}

schema=$(mktemp -d)/summary.json  # its name goes to the model: the same each time, so that a batch is known again
trap 'rm -r "${schema%/*}"' EXIT
cat > "$schema" <<'END'
{"type": "object", "additionalProperties": false, "required": ["title", "summary", "topics"],
 "properties": {"title": {"type": "string"}, "summary": {"type": "string"},
                "topics": {"type": "array", "items": {"type": "string"}}}}
END

# Look at the first prompt before anything is paid, then run it.
headrace extract "$folder" --prompt "Summarise {name}: {text}" --schema "$schema" --model "${MODEL:-rehearsal/small}" --dry-run
headrace extract "$folder" --prompt "Summarise {name}: {text}" --schema "$schema" --model "${MODEL:-rehearsal/small}" --out "$out"

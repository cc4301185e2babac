#!/usr/bin/env bash
# Every PDF of a folder becomes a row of a table. With a service running: examples/folder_of_pdfs.sh FOLDER OUT.csv
# Needs the extra `media`. The text of the pages is sent; for scans, which have none: PDF_AS=images.
set -eu
folder=${1:?a folder of .pdf files}
out=${2:?where the table goes, for example contracts.csv}

schema=$(mktemp -d)/contract.json  # its name goes to the model: the same each time, so that a batch is known again
trap 'rm -r "${schema%/*}"' EXIT
cat > "$schema" <<'END'
{"type": "object", "additionalProperties": false, "required": ["parties", "subject", "signed"],
 "properties": {"parties": {"type": "array", "items": {"type": "string"}},
                "subject": {"type": "string"},
                "signed": {"type": ["string", "null"], "format": "date"}}}
END

# A file with a password, or a damaged one, becomes an error beside the results, instead of stopping all others.
headrace extract "$folder" --prompt "Who agrees on what in the file {name}?" --pdf-as "${PDF_AS:-text}" --schema "$schema" \
    --model "${MODEL:-rehearsal/small}" --on-bad-row error --out "$out" || test $? -eq 1

"""Writes the generated parts of the docs from the code and the last benchmark: `python docs/generate.py [--check]`."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from headrace_api.app import make_app
from headrace_api.shapes.batches import BatchOptions
from headrace_api.shapes.chat import HeadraceOptions
from headrace_api.streaming.notices import Notice

from bench.report.cost_model import cost_model
from bench.report.figures import RESULTS, load
from bench.report.files import derived
from bench.report.headline import filled, headline
from bench.report.markdown import table
from headrace.events.types import KnownJobEvent, Status
from headrace.ledger.state import JOB_MOVES
from headrace.schema.targets import LISTS, NUMBERS, TARGETS, TEXTS
from headrace.settings import Settings, meaning, variable
from headrace.telemetry import METRICS, SPANS

DOCS = Path(__file__).parent
JOB_EVENTS: Sequence[type[msgspec.Struct]] = get_args(KnownJobEvent)


def states() -> str:
    """The state machine of a job, as a diagram that GitHub draws."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, moves in JOB_MOVES.items():
        for move, targets in moves.items():
            for target in targets:
                if target != state:
                    arrows.setdefault((state, target), []).append(move)
    lines = [
        f"    {state} --> {target}: {', '.join(sorted(moves))}" for (state, target), moves in sorted(arrows.items())
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> queued: submit", *lines, "```"])


def settings() -> str:
    """Every variable with its default and its meaning."""
    rows = []
    for field in msgspec.structs.fields(Settings):
        default = "" if field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `{variable(field.name)}` | {default} | {meaning(field)} |")
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def conformance() -> str:
    """Statement by statement, the tests that hold it."""
    folder = DOCS.parent / "tests" / "unit" / "providers"
    return module_at(folder / "conformance.py").table(folder)


def logs() -> str:
    """Every event of the log, with what the page says of it so far."""
    return module_at(DOCS / "log_events.py").table((DOCS / "logs.md").read_text())


ROUTES = (
    ("OpenAI's", ("chat/completions", "responses", "files", "batches", "models")),
    ("Jobs and streams", ("jobs", "stream", "streams", "ui", "ag-ui")),
    ("Money", ("spend", "forecast")),
    ("For the SDK and the command line", ("native",)),
)


def routes() -> str:
    """Every route of the gateway, in the words of its handler."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for route in make_app(None, []).routes:  # type: ignore[arg-type] (none of its handlers is called)
        for handler in getattr(route, "route_handlers", None) or [getattr(route, "route_handler", None)]:
            doc = inspect.getdoc(handler.fn) if handler is not None else None
            methods = sorted(getattr(handler, "http_methods", ["WS"]))
            if doc and route.path.startswith("/v1/") and "OPTIONS" not in methods:
                path = re.sub(r"{(\w+):\w+}", r"{\1}", route.path)
                found.setdefault(path.split("/")[2], []).append((path, " ".join(methods), " ".join(doc.split())))
    lines: list[str] = []
    for title, first in ROUTES:
        lines += [f"### {title}", "", "| | | |", "|---|---|---|"]
        for name in first:
            rows = sorted(found[name.split("/")[0]])
            lines += [f"| {methods} | `{path}` | {doc.replace('|', chr(92) + '|')} |" for path, methods, doc in rows]
        lines.append("")
    return "\n".join(lines).rstrip()


def fields_of(type: type[msgspec.Struct]) -> str:
    """The fields of a request's object, with what their struct says of them."""
    lines = ["| field | |", "|---|---|"]
    for field in msgspec.structs.fields(type):
        (schema,), _ = msgspec.json.schema_components([field.type])
        words = next((each["description"] for each in schema.get("anyOf", [schema]) if "description" in each), "")
        lines.append(f"| `{field.encode_name}` | {words.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def metrics() -> str:
    """Every metric with its labels, then what bounds a label's values."""
    rows = []
    for metric in METRICS:
        labels = ", ".join(f"`{label.name}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind} | {metric.source} | {labels} | {metric.help} |")
    head = ["| metric | kind | of | labels | meaning |", "|---|---|---|---|---|"]
    labels = dict.fromkeys(label for metric in METRICS for label in metric.labels)
    names = sorted({label.name for label in labels})
    bounds = [f"| `{name}` | {'; '.join(label.values for label in labels if label.name == name)} |" for name in names]
    return "\n".join([*head, *rows, "", "| label | values |", "|---|---|", *bounds])


def spans() -> str:
    """Every span with its place and its attributes."""
    rows = [
        f"| `{span.name}` | {span.parent} | {span.help} | {', '.join(f'`{name}`' for name in span.attributes)} |"
        for span in SPANS
    ]
    return "\n".join(["| span | within | meaning | attributes |", "|---|---|---|---|", *rows])


def targets() -> str:
    """What each provider's strict mode keeps of a schema's limits."""
    words = ("format", *NUMBERS, *TEXTS, *LISTS)
    alone = {"pattern": "kept without `format`"} | dict.fromkeys(("minLength", "maxLength"), "kept without either")
    lines = [f"| | {' | '.join(TARGETS)} |", f"|---|{'---|' * len(TARGETS)}"]
    for word in words:
        kept = (
            (alone.get(word, "kept") if row.one_of_texts else "kept")
            if word in row.keywords or word == "format"
            else "validated"
            for row in TARGETS.values()
        )
        lines.append(f"| `{word}` | {' | '.join(kept)} |")
    for name in ("depth", "properties", "enum_values", "chars"):
        lines.append(
            f"| {name.replace('_', ' ')} at most | {' | '.join(str(getattr(row, name)) for row in TARGETS.values())} |"
        )
    said = [f"* {row.name}: {row.source}." for row in TARGETS.values()]
    formats = ", ".join(sorted(next(iter(TARGETS.values())).formats))
    return "\n".join([*lines, "", f"Formats that are kept: {formats}. The rest is validated.", "", *said])


def comments(type: type[msgspec.Struct]) -> dict[str, str]:
    """What the source says of each field, in the class that has it."""
    found: dict[str, str] = {}
    for each in reversed(type.__mro__[:-2]):
        if each.__module__ != "msgspec":
            found |= dict(re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(each), re.MULTILINE))
    return found


def table_of(types: Sequence[type[msgspec.Struct]]) -> str:
    """The types that have a `t`, with what their docstrings and the comments of their fields say."""
    rows = []
    for each in types:
        said = comments(each)
        fields = ", ".join(
            f"`{field.name}`{'?' if is_optional(each, field) else ''}"
            + (f" ({said[field.name]})" if field.name in said else "")
            for field in msgspec.structs.fields(each)
        )
        rows.append(f"| `{each.__struct_config__.tag}` | {(each.__doc__ or '').strip()} | {fields} |")
    return "\n".join(["| `t` | what it says | fields |", "|---|---|---|", *rows])


def is_optional(type: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> bool:
    """Return whether it is left out when there is nothing to say."""
    return type.__struct_config__.omit_defaults and field.default is not msgspec.NODEFAULT


def events() -> str:
    return table_of(JOB_EVENTS)


def notices() -> str:
    return table_of(Notice.__subclasses__())


def typescript() -> str:
    """The events as types of `headrace.js`."""
    lines = []
    for each in JOB_EVENTS:
        said = comments(each)
        # A `status` is also one of the gateway's own, which is in no log.
        own = {"t": f't: "{each.__struct_config__.tag}"', "id": "id?: string" if each is Status else "id: string"}
        lines += [f"/** {(each.__doc__ or '').strip()} */", f"export interface {typescript_name(each)} {{"]
        lines += [f"  {field};" for field in own.values()]
        hints = get_type_hints(each)
        for field in msgspec.structs.fields(each):
            lines += [f"  /** {said[field.name]} */"] if field.name in said else []
            lines.append(f"  {typescript_field(each, field, hints)};")
        lines += ["}", ""]
    names = [f"  | {typescript_name(each)}" for each in JOB_EVENTS]
    lines += ["/** One event of a job's log. A newer gateway may tell of more types: pass them over. */"]
    return "\n".join([*lines, "export type Event =", *names]) + ";"


def typescript_name(event: type[msgspec.Struct]) -> str:
    return event.__name__.removesuffix("Event") + "Event"


def typescript_field(type: type[msgspec.Struct], field: msgspec.structs.FieldInfo, hints: dict[str, Any]) -> str:
    written = typescript_of(hints[field.name])
    if is_optional(type, field):
        return f"{field.name}?: {written.removesuffix(' | null')}"
    return f"{field.name}: {written}"


def typescript_of(hint: Any) -> str:
    """The type of a field in TypeScript. Raises `KeyError` for one that no event has yet."""
    plain = {NoneType: "null", int: "number", float: "number", str: "string", bool: "boolean", Any: "unknown"}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = get_type_hints(hint)
        fields = [typescript_field(hint, field, hints) for field in msgspec.structs.fields(hint)]
        return f"{{ {'; '.join(fields)} }}"
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(dict.fromkeys(map(typescript_of, get_args(hint))))
    if get_origin(hint) is list:
        return f"{typescript_of(get_args(hint)[0])}[]"
    if get_origin(hint) is dict:
        return f"Record<string, {typescript_of(get_args(hint)[1])}>"
    return plain[hint]


def main(check: bool) -> int:
    results = load()
    parts = [
        ("architecture.md", "states", states),
        ("api.md", "routes", routes),
        ("api.md", "headrace_options", lambda: fields_of(HeadraceOptions)),
        ("api.md", "batch_options", lambda: fields_of(BatchOptions)),
        ("operations.md", "settings", settings),
        ("conformance.md", "conformance", conformance),
        ("schemas.md", "targets", targets),
        ("logs.md", "logs", logs),
        ("metrics.md", "metrics", metrics),
        ("metrics.md", "spans", spans),
        ("streaming.md", "events", events),
        ("streaming.md", "notices", notices),
        ("../api/headrace_api/page/headrace.d.ts", "events", typescript),
        ("performance.md", "performance", lambda: table(results, images="../bench/results/")),
        ("performance.md", "costs", lambda: cost_model(results)),
        ("../README.md", "headline", lambda: headline(results)),
    ]
    suite = module_at(DOCS.parent / "tests" / "support" / "schema_suite.py")
    tests = suite.folder()
    if tests is not None and suite.has_documents(tests):
        parts.append(("schemas.md", "suite", lambda: suite.table(list(suite.run(tests)))))
    stale = []
    for name, mark, make in parts:
        path = DOCS / name
        text = path.read_text()
        pattern = rf"(<!-- {mark}: .*? -->\n).*?((?:// )?<!-- /{mark} -->)"
        fresh = re.sub(pattern, lambda found, make=make: f"{found[1]}{make()}\n{found[2]}", text, flags=re.DOTALL)
        if name == "../README.md":
            fresh = filled(fresh, results)
        if fresh != text:
            stale.append(name)
            if not check:
                path.write_text(fresh)
    for name, fresh in derived(results).items():
        path = RESULTS / name
        if not path.exists() or path.read_text() != fresh:
            stale.append(f"../bench/results/{name}")
            if not check:
                path.write_text(fresh)
    if check and stale:
        print(f"stale: {', '.join(stale)}. Run `python docs/generate.py`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))

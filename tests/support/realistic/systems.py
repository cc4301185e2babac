"""Schemas of machines, programs and plans."""

# ruff: noqa: E501 (tables read better in one line a row)

from __future__ import annotations

from realistic.words import DAY, MOMENT, YES, Case, items, maybe, number, obj, one_of, ref, table, text, whole

CASES = [
    Case(
        "configuration",
        obj("version services", version={"const": 3}, services=table(obj("image", image=text(), ports=items({"type": ["integer", "string"]}), environment=table({"type": ["string", "number", "boolean", "null"]}), command={"anyOf": [text(), items(text())]}))),
        [{"version": 3, "services": {"web": {"image": "nginx", "ports": [80, "443:443"], "environment": {"A": "x", "B": 1, "C": True}, "command": "run"}}}, {"version": 3, "services": {"web": {"image": "nginx", "command": ["a", "b"]}, "db": {"image": "pg", "environment": {"N": None}}}}],
        [{"version": 2, "services": {}}, {"version": 3, "services": {"web": {}}}, {"version": 3, "services": {"web": {"image": "nginx", "command": 5}}}],
    ),
    Case(
        "log line",
        obj("at level message", at=MOMENT, level=one_of("debug", "info", "warning", "error"), message=text(), context={"type": "object"}),
        [{"at": "2026-01-01T00:00:00Z", "level": "info", "message": "x"}, {"at": "2026-01-01T00:00:00.123+02:00", "level": "info", "message": "x", "context": {"a": [1, {"b": None}]}}],
        [{"at": "2026-01-01", "level": "info", "message": "x"}, {"at": "2026-01-01T00:00:00Z", "level": "fatal", "message": "x"}, {"at": "2026-01-01T00:00:00Z", "level": "info", "message": "x", "context": []}],
    ),
    Case(
        "sensor",
        obj("id readings", id=text(pattern=r"^[0-9a-f]{8}$"), readings=items({"type": "array", "prefixItems": [MOMENT, number()], "items": False, "minItems": 2}, maxItems=100), unit=one_of("C", "F", None)),
        [{"id": "0123abcd", "readings": []}, {"id": "0123abcd", "readings": [["2026-01-01T00:00:00Z", 1.5]], "unit": "C"}],
        [{"id": "xyz", "readings": []}, {"id": "0123abcd", "readings": [["2026-01-01T00:00:00Z", "1.5"]]}, {"id": "0123abcd", "readings": [], "unit": "K"}],
    ),
    Case(
        "a plan of steps",
        obj("goal steps", goal=text(), steps=items(ref("Step"), minItems=1)) | {"$defs": {"Step": obj("id action", id=whole(), action={"oneOf": [obj("tool query", tool={"const": "search"}, query=text()), obj("tool path content", tool={"const": "write"}, path=text(), content=text()), obj("tool", tool={"const": "stop"})]}, after=items(whole()))}},
        [{"goal": "x", "steps": [{"id": 1, "action": {"tool": "stop"}}]}, {"goal": "x", "steps": [{"id": 1, "action": {"tool": "search", "query": "q"}, "after": []}, {"id": 2, "action": {"tool": "write", "path": "p", "content": "c"}, "after": [1]}]}],
        [{"goal": "x", "steps": []}, {"goal": "x", "steps": [{"id": 1, "action": {"tool": "search"}}]}, {"goal": "x", "steps": [{"id": 1, "action": {"tool": "stop", "query": "q"}}]}],
    ),
    Case(
        "a query",
        obj("from", **{"from": text(), "where": ref("Where"), "limit": whole(minimum=1, maximum=1000), "order": items({"type": "array", "prefixItems": [text(), one_of("asc", "desc")], "items": False, "minItems": 2})}) | {"$defs": {"Where": {"oneOf": [obj("and", **{"and": items(ref("Where"))}), obj("not", **{"not": ref("Where")}), obj("field op value", field=text(), op=one_of("=", "<", ">"), value={"type": ["string", "number", "boolean"]})]}}},
        [{"from": "t"}, {"from": "t", "where": {"and": [{"field": "a", "op": "=", "value": 1}, {"not": {"field": "b", "op": "<", "value": "x"}}]}, "limit": 10, "order": [["a", "asc"]]}],
        [{"from": "t", "limit": 0}, {"from": "t", "where": {"field": "a", "op": "!=", "value": 1}}, {"from": "t", "where": {"and": [{"or": []}]}}, {"from": "t", "order": [["a", "up"]]}],
    ),
    Case(
        "feature flags",
        {"type": "object", "additionalProperties": {"anyOf": [YES, obj("percent", percent=number(minimum=0, maximum=100)), items(text())]}},
        [{}, {"a": True, "b": {"percent": 5}, "c": ["x"]}],
        [{"a": "yes"}, {"b": {"percent": 101}}, {"c": [1]}, []],
    ),
    Case(
        "names of a list",
        items(text(minLength=1), maxItems=5),
        [[], ["a", "b"]],
        [[""], ["a"] * 6, {"a": 1}, "a"],
    ),
    Case(
        "one of some words",
        one_of("spam", "ham", None, 3),
        ["spam", None, 3],
        ["eggs", 4, {}],
    ),
    Case(
        "address of a machine",
        obj("host", host={"anyOf": [text(format="ipv4"), text(format="ipv6"), text(format="hostname")]}, port=whole(minimum=1, maximum=65_535), path=text(pattern="^/")),
        [{"host": "10.0.0.1"}, {"host": "::1", "port": 80}, {"host": "a.b", "path": "/x"}],
        [{"host": "a b"}, {"host": "::1", "port": 0}, {"host": "a.b", "path": "x"}],
    ),
    Case(
        "tree of files",
        ref("Dir") | {"$defs": {"Dir": obj("name entries", name=text(), entries=items({"anyOf": [ref("File"), ref("Dir")]})), "File": obj("name size", name=text(), size=whole(minimum=0))}},
        [{"name": "/", "entries": []}, {"name": "/", "entries": [{"name": "a", "size": 3}, {"name": "d", "entries": [{"name": "b", "size": 0}]}]}],
        [{"name": "/"}, {"name": "/", "entries": [{"name": "a", "size": -3}]}, {"name": "/", "entries": [{"name": "a"}]}],
    ),
    Case(
        "timetable",
        obj("from to", **{"from": DAY, "to": DAY, "hours": table({"type": "array", "items": {"type": "array", "items": text(pattern=r"^\d\d:\d\d$"), "minItems": 2, "maxItems": 2}})}),
        [{"from": "2026-01-01", "to": "2026-12-31"}, {"from": "2026-01-01", "to": "2026-12-31", "hours": {"mon": [["08:00", "12:00"], ["13:00", "17:00"]], "sun": []}}],
        [{"from": "2026-01-01"}, {"from": "2026-01-01", "to": "2026-12-31", "hours": {"mon": [["8", "12:00"]]}}, {"from": "2026-01-01", "to": "2026-12-31", "hours": {"mon": [["08:00"]]}}],
    ),
    Case(
        "medical",
        obj("patient", patient=obj("age", age=whole(minimum=0, maximum=130), sex=one_of("f", "m", "x")), doses=items(obj("drug", drug=text(), mg=maybe(number(exclusiveMinimum=0)))), allergies=maybe(items(text()))),
        [{"patient": {"age": 40}}, {"patient": {"age": 0, "sex": "x"}, "doses": [{"drug": "a", "mg": 0.5}, {"drug": "b"}], "allergies": []}],
        [{"patient": {"age": 131}}, {"patient": {}}, {"patient": {"age": 3}, "doses": [{"drug": "a", "mg": 0}]}],
    ),
    Case(
        "a country each",
        obj("home work", home=ref("Country"), work=ref("Country"), visited=items(ref("Country"))) | {"$defs": {"Country": text(enum=[f"{a}{b}" for a in "ABCDEFGHIJKLMNO" for b in "ABCDEFGHIJKLMNOP"])}},
        [{"home": "AB", "work": "CC"}, {"home": "AB", "work": "AB", "visited": ["OP", "AA"]}],
        [{"home": "ZZ", "work": "CC"}, {"home": "AB"}, {"home": "AB", "work": "AB", "visited": ["zz"]}],
    ),
    Case(
        "parts of one thing",
        {"allOf": [obj("id", id=text(), more=None), obj("size", size=number(minimum=0), more=None), {"properties": {"size": number(maximum=9)}}]},
        [{"id": "a", "size": 3}, {"id": "", "size": 0}],
        [{"id": "a"}, {"id": "a", "size": 10}, {"id": "a", "size": -1}],
    ),
    Case(
        "credentials that go together",
        {**obj("host", host=text(), user=maybe(text()), password=maybe(text())), "dependentRequired": {"user": ["password"], "password": ["user"]}},
        [{"host": "a"}, {"host": "a", "user": "u", "password": "p"}],
        [{"host": "a", "user": "u"}, {"user": "u", "password": "p"}],
    ),
    Case(
        "under a condition",
        {**obj("kind", kind=one_of("person", "company"), vat=text(), born=DAY), "if": {"properties": {"kind": {"const": "company"}}}, "then": {"required": ["vat"]}, "else": {"required": ["born"]}},
        [{"kind": "company", "vat": "x"}, {"kind": "person", "born": "2000-01-01"}],
        [{"kind": "company"}, {"kind": "person", "vat": "x"}, {"kind": "robot", "vat": "x"}],
    ),
    Case(
        "names that fit",
        {"type": "object", "propertyNames": {"pattern": "^[a-z_]{1,20}$"}, "additionalProperties": {"type": ["integer", "null"]}, "maxProperties": 3},
        [{}, {"a": 1, "b_c": None}],
        [{"A": 1}, {"a": "1"}, {"a": 1, "b": 1, "c": 1, "d": 1}],
    ),
    Case(
        "at least one of them",
        obj("people", people=items(obj("name admin", name=text(), admin=YES)) | {"contains": {"properties": {"admin": {"const": True}}}}),
        [{"people": [{"name": "a", "admin": True}]}, {"people": [{"name": "b", "admin": False}, {"name": "a", "admin": True}]}],
        [{"people": []}, {"people": [{"name": "b", "admin": False}]}],
    ),
]  # fmt: skip

"""Schemas of what is taken out of texts: people, places, opinions, code."""

# ruff: noqa: E501 (tables read better in one line a row)

from __future__ import annotations

from realistic.words import DAY, YES, Case, items, maybe, number, obj, one_of, ref, table, text, whole

CASES = [
    Case(
        "sentiment",
        obj("*", verdict=one_of("good", "bad", "mixed"), score=number(minimum=-1, maximum=1), quotes=items(text(minLength=1), maxItems=3)),
        [{"verdict": "good", "score": 0.8, "quotes": []}, {"verdict": "mixed", "score": 0, "quotes": ["so so", "well"]}],
        [{"verdict": "great", "score": 0.8, "quotes": []}, {"verdict": "good", "score": 2, "quotes": []}, {"verdict": "good", "score": 0.8, "quotes": [""]}, {"verdict": "good", "score": 0.8}],
    ),
    Case(
        "entities",
        obj("entities", entities=items({"oneOf": [ref("Person"), ref("Place")]})) | {"$defs": {"Person": obj("kind name", kind={"const": "person"}, name=text(), born=maybe(DAY)), "Place": obj("kind name", kind={"const": "place"}, name=text(), at={"type": "array", "prefixItems": [number(minimum=-90, maximum=90), number(minimum=-180, maximum=180)], "items": False, "minItems": 2})}},
        [{"entities": []}, {"entities": [{"kind": "person", "name": "Ada", "born": "1815-12-10"}, {"kind": "place", "name": "Bern", "at": [46.9, 7.4]}, {"kind": "place", "name": "X"}]}],
        [{"entities": [{"kind": "person"}]}, {"entities": [{"kind": "place", "name": "Bern", "at": [146.9, 7.4]}]}, {"entities": [{"kind": "place", "name": "Bern", "at": [46.9, 7.4, 1]}]}],
    ),
    Case(
        "knowledge graph",
        obj("nodes edges", nodes=table(obj("label", label=text(), more=table(text()))), edges=items(obj("*", source=text(), target=text(), relation=text()))),
        [{"nodes": {}, "edges": []}, {"nodes": {"a": {"label": "A"}, "b": {"label": "B", "x": {"k": "v"}}}, "edges": [{"source": "a", "target": "b", "relation": "knows"}]}],
        [{"nodes": {"a": {}}, "edges": []}, {"nodes": {}, "edges": [{"source": "a"}]}, {"nodes": {"b": {"label": "B", "x": {"k": 1}}}, "edges": []}],
    ),
    Case(
        "curriculum vitae",
        obj("name jobs", name=text(minLength=1, maxLength=100), email=maybe(text(format="email")), jobs=items(obj("title since", title=text(), since=text(pattern=r"^\d{4}(-\d{2})?$"), until=maybe(text(pattern=r"^\d{4}(-\d{2})?$")), skills=items(text()))), languages=table(one_of("basic", "good", "native"))),
        [{"name": "Ada", "jobs": []}, {"name": "Ada", "email": "a@b.ch", "jobs": [{"title": "Countess", "since": "1835-07", "skills": ["maths"]}], "languages": {"English": "native"}}],
        [{"name": "", "jobs": []}, {"name": "Ada", "jobs": [{"title": "x", "since": "July"}]}, {"name": "Ada", "jobs": [], "languages": {"English": "fluent"}}],
    ),
    Case(
        "recipe",
        obj("title serves steps", title=text(), serves=whole(minimum=1), ingredients=items(obj("name", name=text(), amount=maybe(number(exclusiveMinimum=0)), unit=maybe(one_of("g", "ml", "piece")))), steps=items(text(pattern=r"^.{1,500}$"), minItems=1)),
        [{"title": "Soup", "serves": 2, "steps": ["Cook."]}, {"title": "Soup", "serves": 2, "ingredients": [{"name": "salt"}, {"name": "water", "amount": 500, "unit": "ml"}], "steps": ["Cook.", "Eat."]}],
        [{"title": "Soup", "serves": 0, "steps": ["Cook."]}, {"title": "Soup", "serves": 2, "steps": []}, {"title": "Soup", "serves": 2, "steps": ["x" * 501]}, {"title": "Soup", "serves": 2.5, "steps": ["Cook."]}],
    ),
    Case(
        "comments in comments",
        obj("root", root=ref("Comment")) | {"$defs": {"Comment": obj("by text", by=text(), text=text(), replies=items(ref("Comment")), likes=whole(minimum=0))}},
        [{"root": {"by": "a", "text": "t"}}, {"root": {"by": "a", "text": "t", "replies": [{"by": "b", "text": "u", "replies": [{"by": "c", "text": "v", "likes": 3}]}]}}],
        [{"root": {"by": "a"}}, {"root": {"by": "a", "text": "t", "replies": [{"by": "b", "text": "u", "replies": [{"by": "c"}]}]}}, {"root": {"by": "a", "text": "t", "likes": -1}}],
    ),
    Case(
        "an expression",
        {"$defs": {"E": {"anyOf": [number(), obj("op args", op=one_of("+", "*"), args=items(ref("E"), minItems=2)), obj("var", var=text(pattern="^[a-z]$"))]}}, **obj("value", value=ref("E"))},
        [{"value": 3}, {"value": {"op": "+", "args": [1, {"op": "*", "args": [{"var": "x"}, 2]}]}}, {"value": {"var": "y"}}],
        [{"value": "3"}, {"value": {"op": "-", "args": [1, 2]}}, {"value": {"op": "+", "args": [1]}}, {"value": {"var": "xy"}}],
    ),
    Case(
        "pull request review",
        obj("approve findings", approve=YES, findings=items(obj("file line severity", file=text(), line=whole(minimum=1), end=maybe(whole(minimum=1)), severity=one_of("info", "warning", "error"), text=text())), summary=text(maxLength=2000)),
        [{"approve": True, "findings": []}, {"approve": False, "findings": [{"file": "a.py", "line": 3, "severity": "error", "text": "x"}], "summary": "no"}],
        [{"approve": "yes", "findings": []}, {"approve": True, "findings": [{"file": "a.py", "line": 0, "severity": "error"}]}, {"approve": True}],
    ),
    Case(
        "translation",
        obj("*", source=text(pattern="^[a-z]{2}$"), target=text(pattern="^[a-z]{2}$"), text=text(), alternatives=items(text())),
        [{"source": "de", "target": "fr", "text": "Bonjour", "alternatives": []}, {"source": "de", "target": "fr", "text": "\u00e9\u4e2d\U0001f600\"\\\n", "alternatives": [""]}],
        [{"source": "DE", "target": "fr", "text": "x", "alternatives": []}, {"source": "de", "target": "fr", "text": None, "alternatives": []}],
    ),
    Case(
        "question and answer",
        obj("question answers", question=text(), answers=items(obj("text correct", text=text(), correct=YES), minItems=2, maxItems=6), topic={"type": ["string", "null"]}, points={"type": ["integer", "null"]}),
        [{"question": "?", "answers": [{"text": "a", "correct": True}, {"text": "b", "correct": False}]}, {"question": "?", "answers": [{"text": "a", "correct": True}, {"text": "b", "correct": False}], "topic": "x", "points": 3}],
        [{"question": "?", "answers": [{"text": "a", "correct": True}]}, {"question": "?", "answers": [{"text": "a", "correct": 1}, {"text": "b", "correct": False}]}],
    ),
    Case(
        "moderation",
        obj("flagged categories", flagged=YES, categories={"type": "object", "patternProperties": {"^(hate|violence)(/[a-z]+)?$": number(minimum=0, maximum=1)}, "additionalProperties": False}),
        [{"flagged": False, "categories": {}}, {"flagged": True, "categories": {"hate": 0.9, "violence/graphic": 1}}],
        [{"flagged": True, "categories": {"spam": 1}}, {"flagged": True, "categories": {"hate": 2}}],
    ),
    Case(
        "meeting",
        obj("title attendees", title=text(), day=maybe(DAY), attendees=items(text(), minItems=1), decisions=items(obj("text", text=text(), owner=maybe(text()), due=maybe(DAY)))),
        [{"title": "x", "attendees": ["a"]}, {"title": "x", "day": "2026-01-01", "attendees": ["a", "b"], "decisions": [{"text": "go", "owner": "a"}]}],
        [{"title": "x", "attendees": []}, {"title": "x", "day": "soon", "attendees": ["a"]}],
    ),
]  # fmt: skip

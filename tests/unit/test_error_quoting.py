"""What an error of the gateway says again of a request."""

from __future__ import annotations

import pytest
from headrace_api.error_quoting import MAX_CHARS, MAX_QUOTED, shorten_quotes


@pytest.mark.parametrize(
    "given",
    [
        "Z" * 5000,
        "Z" * 4_000_000,
        ["Z" * 9] * 1000,
        {f"Z{n}": "Z" * 9 for n in range(1000)},
        {"a": {"Z" * 3000: 1}},
        "Z Z " * 3000,
        "Z'\"`\\Z" * 900,
    ],
    ids=["text", "a huge text", "list", "object", "name", "words", "quotes"],
)
def test_two_hundred_characters_at_most(given: object) -> None:
    said = shorten_quotes(f"ttl_s={given!r}: a result stays between 1 and 604800 seconds; give `ttl_s`")
    assert said.count("Z") <= MAX_QUOTED
    assert said.startswith("ttl_s=")
    assert len(said) <= MAX_CHARS + 2
    if len(repr(given)) < MAX_CHARS * 5:
        assert said.endswith("a result stays between 1 and 604800 seconds; give `ttl_s`")


def test_several_quotes_have_them_together() -> None:
    said = shorten_quotes(f"one of {'Z' * 150!r}, {'Z' * 150!r} and {'Z' * 150!r} is `known`")
    assert said.count("Z") <= MAX_QUOTED
    assert said.endswith(" is `known`")


def test_keeps_the_text_beside_the_quotes() -> None:
    name = "Z" * 300
    said = shorten_quotes(f"/tools/0/function/name: 1 to 64 letters, not {name!r}; write {name[:64]}")
    assert said.count("Z") <= MAX_QUOTED
    assert said.startswith(f"/tools/0/function/name: 1 to 64 letters, not '{'Z' * 190}")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("model='https://me:hunter2@host/v1': no", "model='https://me:***@host/v1': no"),
        ("redis://:hunter2@host:6379/0", "redis://:***@host:6379/0"),
        ("url='https://host/v1?api_key=hunter2&x=1'", "url='https://host/v1?api_key=***&x=1'"),
        ("https://host/?x=1&X-Amz-Signature=hunter2", "https://host/?x=1&X-Amz-Signature=***"),
        ("temperature=2: nothing to hide", "temperature=2: nothing to hide"),
    ],
)
def test_secrets_in_addresses_are_masked(given: str, said: str) -> None:
    assert shorten_quotes(given) == said

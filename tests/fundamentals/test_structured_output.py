"""A schema in is a schema out: *succeeded* means valid under the schema that the caller gave, and of the caller's type.

Providers take a part of JSON Schema only: what is sent is *lowered*, what comes back is restored, and the caller's own
schema has the last word. An answer that it refuses has failed, with what was wrong and with the text that was paid for; with
`reasks` it is asked for again. A schema that nobody can carry is refused before anything is paid.
"""

from __future__ import annotations

import pytest
from pydantic import BaseModel
from stack import Stack

from headrace import Headrace, JobFailed, SchemaError

MODEL = "rehearsal/small"


class Review(BaseModel):
    product: str
    stars: int
    scores: dict[str, int]  # no strict mode takes a map: it travels as a list of pairs


def test_an_answer_is_an_instance_of_the_callers_type(client: Headrace) -> None:
    review = client.submit(MODEL, "The kettle boils fast: 4 stars.", schema=Review).result(30)
    assert isinstance(review, Review)
    assert isinstance(review.scores, dict)


def test_an_answer_that_does_not_fit_has_failed(client: Headrace) -> None:
    job = client.submit(MODEL, "[[rehearsal fault=miss]] The kettle.", schema=Review)
    with pytest.raises(JobFailed) as failed:
        job.result(30)
    assert failed.value.code == "invalid_output"
    assert failed.value.errors
    assert failed.value.partial


def test_an_answer_is_asked_for_again_if_the_caller_says_so(client: Headrace, stack: Stack) -> None:
    job = client.submit(MODEL, "[[rehearsal fault=miss times=1]] The kettle.", schema=Review, reasks=1)
    assert isinstance(job.result(30), Review)
    assert len(stack.calls_of(job.id)) == 2


def test_a_schema_that_cannot_be_carried_is_refused_before_anything_is_paid(client: Headrace) -> None:
    with pytest.raises(SchemaError):
        client.submit(MODEL, "The kettle.", schema={"type": "strin"})

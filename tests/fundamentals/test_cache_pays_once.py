"""The same question is paid once.

With `cache=True` the answer to the same question (model, messages, options, schema, tools) of the last 24 hours will do. Of those
who ask at the same moment one pays, and the others wait for its answer. What is cached says so, and counts as nothing spent.
"""

from __future__ import annotations

from stack import Stack

from headrace import Headrace

MODEL = "rehearsal/small"


def test_those_who_ask_the_same_at_once_and_later_pay_once(client: Headrace, stack: Stack) -> None:
    question = "[[rehearsal latency=300]] What is a head race?"
    jobs = [client.submit(MODEL, question, cache=True) for _ in range(4)]
    answers = [job.completion(30) for job in jobs]
    late = client.submit(MODEL, question, cache=True)
    answers.append(late.completion(30))
    assert sum(not answer.cached for answer in answers) == 1
    assert len({answer.content for answer in answers}) == 1
    assert sum(len(stack.calls_of(job.id)) for job in (*jobs, late)) == 1
    assert answers[-1].cost == 0


def test_another_question_and_one_without_the_cache_are_paid(client: Headrace, stack: Stack) -> None:
    question = "What is a tail race?"
    client.submit(MODEL, question, cache=True).result(30)
    other = client.submit(MODEL, question, cache=True, temperature=0.5)
    unasked = client.submit(MODEL, question)
    for job in (other, unasked):
        assert not job.completion(30).cached
        assert len(stack.calls_of(job.id)) == 1

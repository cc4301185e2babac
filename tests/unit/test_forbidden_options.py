"""No body says where a call goes, or with whose key: not an HTTP request's, a batch line's, or the SDK's `extra_body`."""

from __future__ import annotations

import pytest

from headrace.batches.build import make_template
from headrace.batches.inputs.openai_form import read_body
from headrace.chat.reserved_fields import REMEDIES, check_reserved_fields
from headrace.errors import InputError
from headrace.jobs.build import make_job

TALK = [{"role": "user", "content": "x"}]
SPELLED = ["apiBase", "API_BASE", "api-key", "baseURL", "Base-Url", "extraQuery", "OpenAI_API_Key"]


@pytest.mark.parametrize("name", [*REMEDIES, *SPELLED])
@pytest.mark.parametrize("value", ["http://203.0.113.7/v1", None, {"x": 1}])
def test_refused_by_name_everywhere(name: str, value: object) -> None:
    template, _ = make_template("rehearsal/small", "x")
    for ask in (
        lambda: check_reserved_fields({name: value}),
        lambda: make_job("rehearsal/small", TALK, extra_body={name: value}),
        lambda: read_body({"custom_id": "1", "body": {"messages": TALK, name: value}}, "1", template),
    ):
        with pytest.raises(InputError) as refused:
            ask()
        assert f"{name}: is no part of a body: " in str(refused.value)
        assert "203.0.113.7" not in str(refused.value)


def test_passes_the_providers_own_fields() -> None:
    extra = {"route": "fallback", "user_id": "u", "api": 1, "key": "k", "timeout": 3, "baseline": 1, "x" * 5000: 1}
    job, _ = make_job("rehearsal/small", TALK, extra_body=extra)
    assert job.options.extra_body == extra

"""A conflict is not asked again by a client's own retry."""

from __future__ import annotations

import pytest
from headrace_api.errors import ApiError, api_error

from headrace.errors import Conflict, Finished, Unknown


@pytest.mark.parametrize("error", [Conflict("job_a", "job_b"), Finished("job_a"), ApiError(409, "busy", "no")])
def test_every_conflict_says_not_to_retry(error: Exception) -> None:
    problem = api_error(error)
    assert (problem.status, problem.headers) == (409, {"x-should-retry": "false"})


def test_other_errors_have_no_conflict_headers() -> None:
    assert api_error(Unknown("job_a")).headers == {}

"""What the doctor says of a provider that only a proxy of the environment leads to."""

from __future__ import annotations

import pytest

from headrace.doctor import endpoints
from headrace.doctor.context import DoctorContext, Finding
from headrace.settings import Settings


def findings(context: DoctorContext) -> list[Finding]:
    return list(endpoints.providers(context))


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        (Settings(trust_env=True), "warning"),
        (Settings(trust_env=True, transport="sdk"), "error"),
        (Settings(), "error"),
    ],
)
def test_a_provider_that_only_a_proxy_leads_to(settings: Settings, status: str) -> None:
    environment = {
        "OPENAI_API_KEY": "sk-rehearsed-0123456789",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "HTTP_PROXY": "http://me:hunter2@p",
    }
    (found,) = findings(DoctorContext(settings, environment))
    assert found.status == status
    assert ("HTTP_PROXY" in found.what) is (status == "warning")
    assert "hunter2" not in str(found)
    context = DoctorContext(settings, environment | {"NO_PROXY": "b.example, 127.0.0.1"})
    assert [found.status for found in findings(context)] == ["error"]

"""Who gets which secret: keys the workers alone, the gateway its own secret, Flower its own password."""

from __future__ import annotations

from typing import get_args

import pytest

from headrace.chat.provider_table import PROVIDERS
from headrace.guards.roles import ALLOWED, Role, environment_of

OWN = {"name": {"base_url": "https://h.example/v1", "key_variable": "MY_PROVIDER_TOKEN"}}
KEYS = {row.key_variable: f"key-of-{row.name}" for row in PROVIDERS.values() if row.key_variable}
KEYS |= {"MY_PROVIDER_TOKEN": "key-of-mine", "ANTHROPIC_API_KEY": "key-of-none", "HTTPS_PROXY": "http://key-of-proxy@h"}
KEYS |= {"AWS_SECRET_ACCESS_KEY": "key-of-aws", "HEADRACE_PROVIDERS": '{"x": {"headers": {"X-Key": "key-of-header"}}}'}
MACHINE = {"PATH": "/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONPATH": "/lib"}
OURS = {"HEADRACE_REDIS_URL": "redis://h", "HEADRACE_NAMESPACE": "hr"}
GATEWAYS = {"HEADRACE_STREAM_SECRET": "secret-of-the-gateway"}
FLOWERS = {"FLOWER_BASIC_AUTH": "me:secret-of-flower"}
EVERYTHING = KEYS | MACHINE | OURS | GATEWAYS | FLOWERS


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("worker", KEYS | MACHINE | OURS),
        ("gateway", MACHINE | OURS | GATEWAYS),
        ("flower", MACHINE | OURS | FLOWERS),
        ("rehearsal", MACHINE),
        ("server", MACHINE),
        ("validation", MACHINE),
    ],
)
def test_each_role_gets_its_own_secrets(role: Role, expected: dict[str, str]) -> None:
    assert environment_of(role, EVERYTHING) == expected


def test_a_gateway_has_the_credentials_of_the_bucket_where_its_files_lie() -> None:
    bucket = {"HEADRACE_FILES": "s3://bucket/prefix"}
    of_the_cloud = {"AWS_SECRET_ACCESS_KEY": "key-of-aws"}
    assert environment_of("gateway", EVERYTHING | bucket) == MACHINE | OURS | GATEWAYS | bucket | of_the_cloud
    assert environment_of("flower", EVERYTHING | bucket) == MACHINE | OURS | FLOWERS | bucket


def test_every_role_has_its_rule() -> None:
    assert set(ALLOWED) == set(get_args(Role))

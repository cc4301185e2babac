"""Reserved names in a request body: they would choose the address of a call or its credential. Clients and proxies know
them, the APIs of providers do not.

Some proxies between headrace and a model obey them, so that any caller could have the operator's key sent to an address of
their choice. They are refused in every spelling, and never forwarded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from headrace.errors import InputError

ADDRESS = "calls go to the address in the workers' environment; choose a provider by `model` (<provider>/<model>)"
KEY = "the key is the one in the workers' environment; leave it out"
FIELDS = "what the provider is to be told stands in the body itself"
HEADERS = "what is sent in headers is for the provider's operator to say; leave it out"
REMEDIES = {
    **dict.fromkeys(("api_base", "base_url", "api_base_url", "api_url", "endpoint", "endpoint_url"), ADDRESS),
    **dict.fromkeys(("azure_endpoint", "azure_deployment", "deployment_id", "websocket_base_url", "api_host"), ADDRESS),
    **dict.fromkeys(("api_type", "api_version", "custom_llm_provider", "model_list", "fallbacks"), ADDRESS),
    **dict.fromkeys(("proxy", "proxies", "http_client", "openai_api_base", "openai_base_url"), ADDRESS),
    **dict.fromkeys(("api_key", "openai_api_key", "azure_ad_token", "azure_ad_token_provider", "authorization"), KEY),
    **dict.fromkeys(("organization", "project", "openai_organization", "aws_access_key_id", "aws_session_token"), KEY),
    **dict.fromkeys(("aws_secret_access_key", "aws_profile_name", "aws_role_name", "vertex_credentials"), KEY),
    **dict.fromkeys(("aws_bedrock_runtime_endpoint", "aws_region_name", "vertex_project", "vertex_location"), ADDRESS),
    **dict.fromkeys(("extra_query", "default_query", "extra_body"), FIELDS),
    **dict.fromkeys(("extra_headers", "default_headers", "headers"), HEADERS),
}


def normalized(name: str) -> str:
    """Return a name without what spellings differ in: `apiBase`, `API-BASE` and `api_base` are one."""
    return "".join(filter(str.isalnum, name)).casefold()


RESERVED_NAMES = {normalized(name): remedy for name, remedy in REMEDIES.items()}
RESERVED_PATTERNS = (
    (
        re.compile(r"(apikey|accesstoken|secretkey|sessiontoken|credentials?|credentialname|identitytoken)$|^langfuse"),
        KEY,
    ),
    (
        re.compile(
            r"(apibase|baseurl|apiurl|endpoint|endpointurl|host)$|^(aws|azure|vertex|litellm)|fallback|callback"
        ),
        ADDRESS,
    ),
    (re.compile(r"^(userconfig|routersettings|modellist)"), ADDRESS),
)
"""Patterns of further reserved names, matched against the normalized name: proxies keep adding some."""
MAX_NAME_CHARS = 64


@lru_cache(1024)
def remedy_for(name: str) -> str | None:
    word = normalized(name)
    return RESERVED_NAMES.get(word) or next(
        (remedy for family, remedy in RESERVED_PATTERNS if family.search(word)), None
    )


def check_reserved_fields(body: Mapping[str, Any], place: str = "") -> None:
    """Raise `InputError` for a field that would choose a call's address or credential, with the alternative. `place` is the
    JSON Pointer of `body`."""
    for name in body:
        if isinstance(name, str) and len(name) <= MAX_NAME_CHARS and (remedy := remedy_for(name)) is not None:
            raise InputError(f"{place}{name}: is no part of a body: {remedy}")

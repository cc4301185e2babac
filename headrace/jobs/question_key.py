"""The key of a question: a keyed hash of all that an answer to it depends on.

Two requests have one key when an answer to one is an answer to the other, whether they come as jobs or as lines of batches. How
the answer is delivered is no part of it: stream, retries, re-asks, what a template's prompt was before its places were filled.
The key of the hash is a secret of the service, so that nobody can tell from a cache what was asked.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.jobs.job import BODY_VERSION, Job

FORMAT = 1
"""The version of what is hashed, and of what is kept under it: a change makes every cached answer one that is not found."""
DIGEST_BYTES = 18  # 24 characters, without padding
_encode = msgspec.json.Encoder(order="deterministic").encode
_encode_as_it_is = msgspec.json.Encoder().encode  # models answer in the order of a schema's keys


class QuestionKeys:
    """Makes the keys of one tenant's questions."""

    def __init__(self, secret: bytes, tenant: str):
        self._begin = hashlib.blake2b(key=secret, digest_size=DIGEST_BYTES, person=b"question")
        _add(self._begin, _encode([FORMAT, BODY_VERSION, tenant]))

    def begun(self, job: Job, deployments: str) -> hashlib.blake2b:
        """Return the hash of all but the messages of `job`. `deployments` names who would be asked, and how."""
        state = self._begin.copy()
        _add(state, deployments.encode(errors="surrogatepass"))
        _add(
            state,
            _encode([job.options, job.prefilling, job.parser, job.lax, job.envelope, job.variant, job.tool_choice]),
        )
        _add(state, _encode_as_it_is([job.schema, job.schema_name, job.response_format, job.tools]))
        return state

    def of_job(self, job: Job, deployments: str) -> str:
        """Return the key of a whole job. Raises one of `UNWRITABLE` for what JSON cannot hold."""
        return key_of(self.begun(job, deployments), job.messages)


def with_messages(state: hashlib.blake2b, messages: Sequence[dict[str, Any]]) -> hashlib.blake2b:
    """Return the hash of what was hashed so far and of these messages, to go on with."""
    state = state.copy()
    for message in messages:
        _add(state, _encode(message))
    return state


def key_of(state: hashlib.blake2b, messages: Sequence[dict[str, Any]]) -> str:
    """Return the key of the question that ends with these messages."""
    return base64.urlsafe_b64encode(with_messages(state, messages).digest()).decode()


def _add(state: hashlib.blake2b, part: bytes) -> None:
    state.update(b"%d:" % len(part))  # or the end of one part could pass for the beginning of the next
    state.update(part)

"""The bytes under which an answer is kept in the cache: a form, a signature, and the completion as JSON, compressed when it is
large.

The signature is keyed by the secret of the service and covers the key of the question: what somebody else wrote, what was cut,
and an answer to another question are none.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib

import msgspec
from headrace_providers.cache import encode_kept, is_cacheable

from headrace.chat.completion import Completion
from headrace.text.readable import UNREADABLE

PLAIN, COMPRESSED, FILED = b"j", b"z", b"f"
SIGNATURE_BYTES = 16
HEAD_BYTES = SIGNATURE_BYTES + 1
COMPRESS_BYTES = 1024
"""From so many bytes on an answer is compressed."""
MAX_BYTES = 1 << 20
"""Bytes of a kept answer at most, as it is kept; a larger one is not."""
MAX_DECODED_BYTES = 32 << 20
_decoder = msgspec.json.Decoder(Completion)


def pack(secret: bytes, key: str, completion: Completion) -> bytes:
    """Return the completion as it is kept under `key`. Raises one of `UNWRITABLE`."""
    body = encode_kept(completion)
    form = PLAIN
    if len(body) >= COMPRESS_BYTES:
        form, body = COMPRESSED, zlib.compress(body, 1)
    return signature(secret, key, form, body) + form + body


def unpack(secret: bytes, key: str, value: bytes) -> Completion | None:
    """Return the completion that is kept under `key`; None for what cannot be read, or is not ours."""
    form, body = value[SIGNATURE_BYTES:HEAD_BYTES], value[HEAD_BYTES:]
    if not hmac.compare_digest(signature(secret, key, form, body), value[:SIGNATURE_BYTES]):
        return None
    try:
        if form == COMPRESSED:
            inflate = zlib.decompressobj()
            body = inflate.decompress(body, MAX_DECODED_BYTES)
            if not inflate.eof:
                return None
        completion = _decoder.decode(body)
    except (*UNREADABLE, zlib.error):
        return None
    return completion if is_shareable(completion) else None


def signature(secret: bytes, key: str, form: bytes, body: bytes) -> bytes:
    signed = hashlib.blake2b(key=secret, digest_size=SIGNATURE_BYTES, person=b"answer")
    signed.update(key.encode() + form)
    signed.update(body)
    return signed.digest()


def is_shareable(completion: Completion) -> bool:
    """Return True if the completion may be given to whoever asks the same: all of its choices are whole."""
    return is_cacheable(completion) and all(
        choice.finish_reason in {"stop", "tool_calls", "function_call"} and not choice.refusal
        for choice in completion.other_choices
    )

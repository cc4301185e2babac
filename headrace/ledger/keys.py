"""Every key of the ledger, declared once. All have the hash tag `{namespace}`: every script runs in one cluster slot."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple


class KeyKind(NamedTuple):
    """One kind of key: its pattern under the tag, its Redis type, its lifetime, and the moves that write it."""

    pattern: str
    type: str
    lifetime: str
    moves: str


# ruff: noqa: E501 (a table is read by its columns)
KINDS = (
    KeyKind("job:<id>", "hash", "until the job ends, then 24 h", "submit claim restart beat park release cancel expire append compact finish restore due recover shorten show evict_damaged reserve"),
    KeyKind("job:<id>:log", "stream", "until the job ends, then its ttl", "claim restart append compact cancel expire finish restore recover evict_damaged"),
    KeyKind("job:<id>:body", "string", "the job's ttl, from an end other than success", "finish cancel claim expire recover evict_damaged"),
    KeyKind("job:<id>:result", "string", "the job's ttl", "finish cancel claim expire recover evict_damaged"),
    KeyKind("jobs:<tenant>", "zset", "permanent, entries 8 days", "submit restore"),
    KeyKind("idem:<tenant>:<sha>", "string", "24 h", "submit open create_file create_batch"),
    KeyKind("unread:<tenant>:<sha>", "hash", "a job's timeout, then 15 min; 1,000 entries", "submit unread open create_file create_batch"),
    KeyKind("gateway:<id>", "string", "5 s", "a gateway: that those who wait at it are still there"),
    KeyKind("chat:<tenant>:<sha>", "string", "24 h", "the gateway: the job that answers in a chat"),
    KeyKind("cache:<sha>", "string", "HEADRACE_CACHE_TTL_S", "keep_answers"),
    KeyKind("cached:<tenant>", "list", "HEADRACE_CACHE_TTL_S from the last answer", "keep_answers"),
    KeyKind("cache_use", "hash", "HEADRACE_CACHE_TTL_S from the last answer", "look_up keep_answers"),
    KeyKind("answer_files:<tenant>:<sha>", "zset", "HEADRACE_CACHE_TTL_S from the last batch; 50 entries", "a worker: files of closed batches that have answers"),
    KeyKind("flight:<sha>", "string", "15 min", "look_up keep_answers"),
    KeyKind("caller:<process>", "string", "16 s", "look_up"),
    KeyKind("cache_secret", "string", "permanent", "the first worker that caches"),
    KeyKind("choice:<sha>", "string", "HEADRACE_CACHE_TTL_S", "a worker: one of several choices, which its job has paid for"),
    KeyKind("batch:<id>", "hash", "until the batch closes, then 7 days", "open create_batch begin_batch reject_batch feed claim checkpoint finish_shard pause resume cancel seal close park prefill recover release refuse_rows evict_damaged reserve set_budget"),
    KeyKind("batch:<id>:log", "stream", "until the batch closes, then 7 days", "open create_batch begin_batch reject_batch checkpoint park prefill finish_shard pause resume cancel seal close refuse_rows evict_damaged reserve"),
    KeyKind("batch:<id>:parts", "hash", "until the batch closes, then 7 days", "finish_shard close evict_damaged"),
    KeyKind("batch:<id>:refused", "string", "until the batch closes, then 7 days", "refuse_rows close evict_damaged"),
    KeyKind("batch:<id>:reasons", "hash", "until the batch closes, then 7 days; 1,000 entries", "refuse_rows close evict_damaged"),
    KeyKind("batches:<tenant>", "zset", "permanent", "open create_batch"),
    KeyKind("shard:<batch>.<n>", "hash", "until the shard's part is committed", "create_batch begin_batch reject_batch cancel feed claim beat park release checkpoint finish_shard due recover seal close prefill reserve"),
    KeyKind("shard:<batch>.<n>:res", "hash", "until the shard's part is committed", "checkpoint prefill finish_shard close"),
    KeyKind("work:<tenant>:<sha>", "string", "31 days from the last open", "open"),
    KeyKind("tpl:<sha>", "string", "31 days from the last open", "open create_batch"),
    KeyKind("held", "string", "permanent", "checkpoint prefill finish_shard close"),
    KeyKind("due", "zset", "permanent", "submit create_batch begin_batch reject_batch feed seal park release claim due recover finish cancel expire close finish_shard evict_damaged"),
    KeyKind("leases", "zset", "permanent", "claim begin_batch reject_batch cancel beat checkpoint park release finish recover close finish_shard restore evict_damaged"),
    KeyKind("processes", "zset", "permanent, entries an hour", "beat recover"),
    KeyKind("open", "zset", "permanent", "open begin_batch seal evict_damaged"),
    KeyKind("file:<id>", "hash", "permanent, until deleted or swept", "create_file delete_file close"),
    KeyKind("files:<tenant>", "zset", "permanent", "create_file delete_file close"),
    KeyKind("file_bytes:<tenant>", "string", "permanent", "create_file delete_file"),
    KeyKind("expiring", "zset", "permanent", "create_file delete_file close"),
    KeyKind("spend:<tenant>", "hash", "permanent", "finish checkpoint finish_shard park release claim recover close reserve set_budget"),
    KeyKind("spend:<tenant>:<day>", "hash", "400 days from its last use", "finish checkpoint finish_shard park release claim recover close reserve"),
    KeyKind("rejected", "list", "7 days since the last, 1,000 entries", "dead_letter evict_damaged"),
    KeyKind("rejections", "hash", "permanent", "dead_letter evict_damaged"),
    KeyKind("leader", "string", "5 s", "lead"),
    KeyKind("providers", "hash", "20 s after the last worker", "announce"),
    KeyKind("limit:<scope>", "hash", "1 h from its last use", "limit_configure limit_take limit_hold limit_learn"),
    KeyKind("limits", "hash", "permanent, entries as long as their limit", "limit_configure limit_hold limit_learn"),
    KeyKind("breaker:<scope>", "hash", "1 h from its last use", "breaker_fail breaker_probe breaker_close"),
    KeyKind("breakers", "hash", "permanent, entries as long as a breaker is open", "breaker_fail breaker_close"),
    KeyKind("warm:<sha>", "string", "2 min, or 4 from an answer", "a worker: that a prefix is cached at its provider, or who warms it up"),
    KeyKind("store", "hash", "permanent", "the first client or worker"),
)  # fmt: skip


def permanent(key: str) -> bool:
    """Return True if `key` (with its tag) may exist without a TTL. An undeclared key may not."""
    name = key.partition("}:")[2]
    return any(
        "permanent" in kind.lifetime and re.fullmatch(re.sub(r"<\w+>", r"[^:]+", kind.pattern), name) for kind in KINDS
    )


class Keys:
    """The names of the keys in one namespace."""

    def __init__(self, namespace: str):
        self.prefix = f"{{{namespace}}}"
        self.due = f"{self.prefix}:due"
        self.leases = f"{self.prefix}:leases"
        self.processes = f"{self.prefix}:processes"
        self.open = f"{self.prefix}:open"
        self.leader = f"{self.prefix}:leader"
        self.rejected = f"{self.prefix}:rejected"
        self.rejections = f"{self.prefix}:rejections"
        self.held = f"{self.prefix}:held"
        self.expiring = f"{self.prefix}:expiring"
        self.providers = f"{self.prefix}:providers"
        self.store = f"{self.prefix}:store"
        self.limits = f"{self.prefix}:limits"
        self.limits_channel = f"{self.prefix}:limits:ch"
        self.breakers = f"{self.prefix}:breakers"
        self.breakers_channel = f"{self.prefix}:breakers:ch"
        self.cache_use = f"{self.prefix}:cache_use"
        self.cache_secret = f"{self.prefix}:cache_secret"

    def job(self, job_id: str) -> str:
        return f"{self.prefix}:job:{job_id}"

    def jobs(self, tenant: str) -> str:
        return f"{self.prefix}:jobs:{tenant}"

    def batches(self, tenant: str) -> str:
        return f"{self.prefix}:batches:{tenant}"

    def idempotency(self, tenant: str, key: str) -> str:
        return f"{self.prefix}:idem:{tenant}:{hashlib.sha256(key.encode()).hexdigest()}"

    def unread(self, tenant: str, asked: str) -> str:
        return f"{self.prefix}:unread:{tenant}:{asked}"

    def gateway(self, gateway_id: str) -> str:
        return f"{self.prefix}:gateway:{gateway_id}"

    def chat(self, tenant: str, chat_id: str) -> str:
        return f"{self.prefix}:chat:{tenant}:{hashlib.sha256(chat_id.encode()).hexdigest()}"

    def cache(self, sha: str) -> str:
        return f"{self.prefix}:cache:{sha}"

    def cached(self, tenant: str) -> str:
        """Return the key of the list of a tenant's cached answers."""
        return f"{self.prefix}:cached:{tenant}"

    def answer_files(self, tenant: str, sha: str) -> str:
        """Return the key of the files that have answers to the questions of a family."""
        return f"{self.prefix}:answer_files:{tenant}:{sha}"

    def caller(self, process: str) -> str:
        return f"{self.prefix}:caller:{process}"

    def choice(self, sha: str) -> str:
        return f"{self.prefix}:choice:{sha}"

    def batch(self, batch_id: str) -> str:
        return f"{self.prefix}:batch:{batch_id}"

    def shard(self, shard_id: str) -> str:
        return f"{self.prefix}:shard:{shard_id}"

    def join(self, batch_id: str) -> str:
        return self.shard(f"{batch_id}.join")

    def check(self, batch_id: str) -> str:
        """Return the key of the record of the check of a batch's input."""
        return self.shard(f"{batch_id}.check")

    def file(self, file_id: str) -> str:
        return f"{self.prefix}:file:{file_id}"

    def files(self, tenant: str) -> str:
        return f"{self.prefix}:files:{tenant}"

    def file_bytes(self, tenant: str) -> str:
        return f"{self.prefix}:file_bytes:{tenant}"

    def template(self, sha: str) -> str:
        return f"{self.prefix}:tpl:{sha}"

    def limit(self, scope: str) -> str:
        """Return the key of the limits of a deployment, or of one model there."""
        return f"{self.prefix}:limit:{scope}"

    def warm(self, sha: str) -> str:
        """Return the key of a prefix that calls begin with."""
        return f"{self.prefix}:warm:{sha}"

    def breaker(self, scope: str) -> str:
        """Return the key of the circuit breaker of a deployment."""
        return f"{self.prefix}:breaker:{scope}"

    def work(self, tenant: str, sha: str) -> str:
        return f"{self.prefix}:work:{tenant}:{sha}"

    def spend(self, tenant: str) -> str:
        return f"{self.prefix}:spend:{tenant}"

    def spend_of_day(self, tenant: str, day: str) -> str:
        """Return the key of a tenant's costs of one day, `2026-11-28`."""
        return f"{self.spend(tenant)}:{day}"

    def record(self, record_id: str) -> str:
        """Return the key of the record of a job, a shard or a join, by the form of its id."""
        return self.job(record_id) if record_id.startswith("job_") else self.shard(record_id)

    # What lies beside a record, by the key of that record.

    @staticmethod
    def log(record: str) -> str:
        """Return the key of the event log of a job or a batch."""
        return f"{record}:log"

    @staticmethod
    def channel(record: str) -> str:
        """Return the channel on which the events of a job or a batch are published."""
        return f"{record}:ch"

    @staticmethod
    def body(job: str) -> str:
        """Return the key of the body of a job that ended without success; before its end it is a field of the record."""
        return f"{job}:body"

    @staticmethod
    def result(job: str) -> str:
        return f"{job}:result"

    @staticmethod
    def parts(batch: str) -> str:
        """Return the key of the parts of a batch, by the number of their shard."""
        return f"{batch}:parts"

    @staticmethod
    def refused(batch: str) -> str:
        """Return the key of the bitmap of a batch's lines that the caller's type refused."""
        return f"{batch}:refused"

    @staticmethod
    def reasons(batch: str) -> str:
        """Return the key of the reasons why lines of a batch were refused."""
        return f"{batch}:reasons"

    @staticmethod
    def rows(shard: str) -> str:
        """Return the key of the rows of a shard that has no part yet."""
        return f"{shard}:res"


def shard_id(batch_id: str, number: int) -> str:
    """Return the id of a batch's shard, `batch_….s17`."""
    return f"{batch_id}.s{number}"


def batch_of(record_id: str) -> str:
    """Return the batch of a shard or a join; `-` for a job, which has none."""
    batch_id, dot, _ = record_id.partition(".")
    return batch_id if dot else "-"


def shard_number(record_id: str) -> str:
    """Return `17` for `batch_….s17`; empty for a job and for a join."""
    tail = record_id.partition(".")[2]
    return tail[1:] if tail.startswith("s") and tail[1:].isdigit() else ""

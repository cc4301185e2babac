"""Submit in one process, fetch in another: an id is all that has to travel between them.

headrace up --rehearsal &
id=$(python examples/submit_and_fetch.py submit "Why is the sky blue?")
python examples/submit_and_fetch.py fetch "$id"
"""

import sys

from headrace import Expired, Headrace, JobFailed, WaitTimeout


def submit(question: str) -> None:
    with Headrace() as headrace:
        # The key makes a repeated call harmless: within a day it gives the same job, paid once.
        job = headrace.submit("rehearsal/small", question, idempotency_key=question, ttl_s=86_400)
        print(job.id)


def fetch(job_id: str) -> None:
    with Headrace() as headrace:
        try:
            print(headrace.job(job_id).result(timeout=60))
        except WaitTimeout:
            sys.exit(f"{job_id} still runs; come back later")
        except Expired:
            sys.exit(f"{job_id} ended more than a day ago")
        except JobFailed as failed:
            sys.exit(f"{failed.code}: {failed}")


if __name__ == "__main__":
    {"submit": submit, "fetch": fetch}[sys.argv[1]](sys.argv[2])

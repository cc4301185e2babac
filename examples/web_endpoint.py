"""A web endpoint that answers at once with an id, and one that tells how the job is doing.

headrace up --rehearsal &
uvicorn --app-dir examples web_endpoint:app --port 8080
curl -d '{"question": "Why is the sky blue?"}' http://127.0.0.1:8080/questions
curl http://127.0.0.1:8080/questions/job_…
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from litestar import Litestar, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException

from headrace import AsyncHeadrace, InputError, JobFailed, Unknown, WaitTimeout


@dataclass
class Question:
    question: str


@post("/questions", status_code=202)
async def ask(data: Question, state: State) -> dict[str, str]:
    job = await state.headrace.submit("rehearsal/small", data.question)
    return {"id": job.id}


@get("/questions/{job_id:str}")
async def answer(job_id: str, state: State, wait_s: float = 0) -> dict[str, str]:
    try:
        job = state.headrace.job(job_id)
        return {"id": job_id, "answer": await job.result(timeout=wait_s)}
    except WaitTimeout:
        return {"id": job_id, "status": await job.status()}
    except JobFailed as failed:
        return {"id": job_id, "error": failed.code}
    except (Unknown, InputError) as unknown:
        raise NotFoundException(str(unknown)) from unknown


@asynccontextmanager
async def connected(app: Litestar) -> AsyncIterator[None]:
    async with AsyncHeadrace() as app.state.headrace:
        yield


app = Litestar([ask, answer], lifespan=[connected])

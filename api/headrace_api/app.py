"""The ASGI application: routes and middleware."""

from __future__ import annotations

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.di import Provide

from headrace_api.errors import answer
from headrace_api.routes import (
    ag_ui,
    batch_results,
    batches,
    chat_completions,
    durable_streams,
    events,
    files,
    forecast,
    jobs,
    metrics,
    models,
    native_batches,
    openapi,
    pages,
    responses,
    spend,
    ui_chat,
    websocket,
)
from headrace_api.state import Gateway

MAX_BODY_BYTES = 32 << 20
EXPOSED = [
    *("x-headrace-job", "x-request-id", "openai-processing-ms", "x-should-retry", "retry-after", "location"),
    *("stream-next-offset", "stream-up-to-date", "stream-closed", "stream-cursor", "etag"),
    "x-vercel-ai-ui-message-stream",
]


def make_app(gateway: Gateway, origins: list[str]) -> Litestar:
    """Return the application over `gateway`, which has to be running."""
    return Litestar(
        route_handlers=[
            *(jobs.submit, jobs.list_jobs, jobs.show, jobs.cancel, jobs.retry, jobs.token),
            *(events.events, websocket.stream),
            *(responses.create, responses.show, responses.cancel, responses.remove, responses.input_items),
            *(chat_completions.complete, ui_chat.chat, ui_chat.resume, ag_ui.run),
            *(batches.create, batches.show, batches.list_batches, batches.cancel, batches.retry, batch_results.results),
            *(durable_streams.metadata, durable_streams.read),
            *(models.list_models, models.retrieve),
            *(files.upload, files.list_files, files.show, files.remove, files.content),
            *(native_batches.open_batch, native_batches.list_batches, native_batches.show, native_batches.events),
            *(native_batches.lines, native_batches.cancel, native_batches.resume, native_batches.retry),
            *(native_batches.refuse, native_batches.reask, native_batches.set_budget),
            *(spend.show_spend, forecast.forecast_requests),
            *(openapi.openapi, pages.index, pages.asset, pages.health, metrics.metrics, metrics.workers),
        ],
        dependencies={"gateway": Provide(lambda: gateway, sync_to_thread=False)},
        exception_handlers={Exception: answer},
        cors_config=CORSConfig(allow_origins=origins, expose_headers=EXPOSED) if origins else None,
        openapi_config=None,  # `routes/openapi.py`: the framework would see nothing of bodies that it does not read
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
    )

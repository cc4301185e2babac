"""The Celery application that Flower looks through: the broker's settings and nothing of the workers' code.

`celery -A headrace.broker.flower flower`, with `HEADRACE_REDIS_URL` set; `headrace up` runs it so, with a password. Flower asks
for the password everywhere but at `/metrics`, which tells of every worker and task: here it asks there as well.
"""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery

from headrace.broker import hints
from headrace.errors import HeadraceError
from headrace.guards.service_address import redis_url
from headrace.logs import configure
from headrace.settings import Settings
from headrace.text.safe_errors import report_of


def close_metrics() -> None:
    """Have Flower's `/metrics` ask for what its other pages ask for."""
    try:
        from flower.views.monitor import Metrics
    except ImportError:
        return  # another command of Celery's, where Flower is not installed
    answer = Metrics.get

    async def get(self: Metrics) -> None:
        # With a password, Flower's own 401 is raised by the look; with a login page, this is nobody.
        if self.current_user:
            await answer(self)
        else:
            self.set_status(401)

    Metrics.get = get


def keep_texts_out(level: str) -> None:
    """Log as Flower does, but no text of an exception and no arguments: a page's failure would quote what it shows."""
    try:
        from tornado.log import LogFormatter
    except ImportError:
        configure(level)
        return
    configure(level, formatter=LogFormatter(color=False))
    # Once the application is loaded Flower sets the root's level to its own option; the handler stays.


def make_app() -> Any:
    """Return the application, with the log set up and Flower's `/metrics` behind the password."""
    settings = Settings.load()
    keep_texts_out(settings.log_level)
    made: Any = Celery("headrace", fixups=[])
    made.conf.update(hints.configure(redis_url(settings), settings.namespace))
    close_metrics()
    return made


try:
    app = make_app()
except HeadraceError:
    raise
except Exception as error:  # Celery would print its traceback, with the text
    sys.exit(f"headrace: Flower cannot start: {report_of(error)}")

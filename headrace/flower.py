"""The Celery application that Flower looks through: the broker's settings and nothing of the workers' code.

`celery -A headrace.flower flower`, with `HEADRACE_REDIS_URL` set; `headrace up` runs it so, with a password.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from headrace.hint import configure
from headrace.settings import Settings, redis_url

settings = Settings.load()
app: Any = Celery("headrace", fixups=[])
app.conf.update(configure(redis_url(settings), settings.namespace))

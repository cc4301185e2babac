"""The command `headrace`, also as `python -m headrace`."""

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command."""
    try:
        signal.signal(signal.SIGINT, on_interrupt)
        from headrace.cli.main import main

        main()
    except KeyboardInterrupt:  # between two things that take it themselves
        os._exit(130)


def on_interrupt(_signal: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt` on Ctrl-C. Within an import the command ends at once instead: what is raised there
    comes out as some other exception, or not at all."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(130)
        frame = frame.f_back
    from headrace.cli.last_resort import (
        end_soon,  # not before the signal is taken: a press during it would be told by Python
    )

    end_soon()
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()

"""What the runner says by itself: one line when something begins or ends, with its time."""

from __future__ import annotations

import logging
import signal
import sys

from .access_log import logger as access_logger
from .config import Config

__all__ = ["counted", "lifecycle", "set_up_logs", "stopping"]

# Of its own, so that these lines are seen and those about single clients, of the same level, are
# not.
lifecycle: logging.Logger = logging.getLogger("nardis.lifecycle")


def set_up_logs(config: Config) -> None:
    """Show what we say, in whole lines, unless the application's own logging takes it."""
    log = logging.getLogger("nardis")
    _hear(log)
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        access_logger.propagate = False
        if log.level == lifecycle.level == logging.NOTSET:
            lifecycle.setLevel(logging.INFO)
    if config.access_log is not None:
        if not access_logger.hasHandlers():
            access_logger.addHandler(logging.StreamHandler(sys.stdout))
        if access_logger.level == logging.NOTSET:
            access_logger.setLevel(logging.INFO)


def _hear(log: logging.Logger) -> None:
    """
    Undo what `logging.config` does to loggers that it was not told of: it disables them.

    It does so unless `disable_existing_loggers` is false, and ours are there before the application
    is imported: nobody would hear of a handler that failed. One that is disabled by itself stays
    so.
    """
    known = logging.root.manager.loggerDict.items()
    below = [each for name, each in known if name.startswith(f"{log.name}.")]
    ours = [log, *(each for each in below if isinstance(each, logging.Logger))]
    if all(each.disabled for each in ours):
        for each in ours:
            each.disabled = False


def stopping(number: int, config: Config) -> None:
    """Log that a signal ends the process."""
    lifecycle.info(
        "%s: stopping; %g s to drain, %g s at most",
        signal.Signals(number).name,
        config.drain_s,
        config.graceful_s,
    )


def counted(count: int, one: str, several: str) -> str:
    """
    Write a number and what there is of it.

    >>> counted(1, "worker", "workers"), counted(0, "worker", "workers")
    ('1 worker', '0 workers')
    """
    return f"{count} {one if count == 1 else several}"

"""
Between logging and the wire: records of a child leave it here, and arrive in the master here.

Ring 1. A leaf fetches this when somebody imports logging there.
"""

import logging
import sys

import mitogen.core
from mitogen.core import Message, Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Longest text of one record; beyond it somebody logs data, not news.
MAX_TEXT = 1 << 20


def log(level: int, fmt: str, *args: 'Any') -> None:
    """Log what the library itself has to say in a master; from level ERROR on with the current exception."""
    failed = level >= logging.ERROR and sys.exc_info()[0] is not None
    logging.getLogger('mitogen').log(level, fmt, *args, exc_info=failed)


class ToMaster(logging.Handler):
    """Sends records to the master."""

    def __init__(self, router: 'Any') -> None:
        logging.Handler.__init__(self)
        self._router = router

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple):      # of a Secret a log shows only the mask
            record.args = tuple(repr(arg) if isinstance(arg, Secret) else arg for arg in record.args)
        mitogen.core.forward_log(self._router, record.name, record.levelno, self.format(record)[:MAX_TEXT])


def connect(router: 'Any') -> None:
    """In a child: send all that is logged to the master, and nowhere else. Its level is the master's."""
    logging.root.handlers[:] = [ToMaster(router)]
    logging.root.setLevel(router.log_level)


def visible(text: str) -> str:
    """Return text of another context with anything that could command a terminal made visible."""
    return ''.join(c if c.isprintable() or c in '\n\t' else '\\x%02x' % ord(c) for c in text)


class FromChildren:
    """In the master: logs what comes from children under ``mitogen.ctx.<name>``.

    Records have the attributes `mitogen_context`, `mitogen_name` (the logger's there), `mitogen_msg` and
    `mitogen_message`. Runs on the broker thread.
    """

    def __init__(self, router: 'Any') -> None:
        self._router = router
        router.add_handler(self._on_record, mitogen.core.FORWARD_LOG)

    def _on_record(self, msg: Message) -> None:
        name, level, text = msg.unpickle()
        context = self._router.context_by_id(msg.src_id)
        name, shown = visible(str(name)), visible(str(text))
        logger = logging.getLogger('mitogen.ctx.%s' % (context.name or 'context-%d' % context.context_id))
        logger.log(int(level), '%s: %s', name, shown, extra={
            'mitogen_context': context, 'mitogen_name': name, 'mitogen_msg': msg, 'mitogen_message': shown})

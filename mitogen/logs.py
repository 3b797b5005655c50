"""
Between logging and the wire: records of a child leave it here, and arrive in the master here.

Ring 1. A leaf fetches this when somebody imports logging there.
"""

import contextlib
import logging
import re
import sys
import traceback

import mitogen.core
from mitogen.core import Message, Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Longest text of one record; beyond it somebody logs data, not news.
MAX_TEXT = 1 << 20

#: Longest name of a logger, or of a context, that is shown. A name is one line's beginning, not its content.
MAX_NAME = 200

#: What may command a terminal, or cannot be printed, is in here; so is much that can.
_UNUSUAL = re.compile('[^ -~\n\t]+')


def log(level: int, fmt: str, *args: 'Any') -> None:
    """Log what the library itself has to say in a master; from level ERROR on with the current exception."""
    _log_safely('mitogen', level, fmt, *args, exc_info=level >= logging.ERROR and sys.exc_info()[0] is not None)


def _log_safely(name: str, level: int, fmt: str, *args: 'Any', exc_info: bool = False) -> None:
    """Log, and raise nothing, whatever handlers the program has: the broker does this in the middle of its work, and
    where it has failed already."""
    with contextlib.suppress(Exception):        # standard error is closed, too
        try:
            logging.getLogger(name).log(level, fmt, *args, exc_info=exc_info)
        except Exception:
            if sys.stderr is not None:
                traceback.print_exc()


class _Mask:
    """Stands for a Secret in the arguments of a record, however they are formatted."""

    def __repr__(self) -> str:
        return repr(Secret())


def masked(value: 'Any') -> 'Any':
    """Return a value as a log may show it."""
    return _Mask() if isinstance(value, Secret) else value


class ToMaster(logging.Handler):
    """Sends records to the master."""

    def __init__(self, router: 'Any') -> None:
        logging.Handler.__init__(self)
        self._router = router

    def emit(self, record: logging.LogRecord) -> None:
        record.msg = masked(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(map(masked, record.args))
        elif record.args:
            record.args = {key: masked(value) for key, value in record.args.items()}
        try:
            longest = min(MAX_TEXT, self._router.max_message_size // 5)     # a character is up to 4 bytes
            mitogen.core.forward_log(self._router, record.name, record.levelno, self.format(record)[:longest])
        except Exception:
            self.handleError(record)    # as every handler: a bad format is no reason for a program to fail


def connect(router: 'Any') -> None:
    """In a child: send all that is logged to the master, and nowhere else. Its level is the master's."""
    for logger in list(logging.root.manager.loggerDict.values()):
        # A fork inherits handlers; their files are the program's, and perhaps locked for ever by a thread of it.
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers, logger.propagate = [], True
    logging.root.handlers[:] = [ToMaster(router)]
    logging.root.setLevel(router.log_level)


def visible(text: str) -> str:
    """Return text of another context with anything that could command a terminal made visible."""
    # A megabyte, on the broker thread: only what is unusual is looked at one by one.
    return _UNUSUAL.sub(lambda part: ''.join(c if c.isprintable() else '\\x%02x' % ord(c) for c in part.group()), text)


def debug_to_file(broker: 'Any', path: str) -> None:
    """In a master: log all that is logged as `mitogen`, records of children too, to a file as well, until the broker
    ends. The program's other handlers hear more of it than before."""
    logger = logging.getLogger('mitogen')
    level = logger.level
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter('%(created).3f %(levelname).1s %(name)s: %(message)s'))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)

    def end() -> None:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
    mitogen.core.listen(broker, 'exit', end)


def wants_messages() -> bool:
    """Whether mitogen.utils.log_to_file() was told to log every message."""
    return logging.getLogger('mitogen.io').level == logging.DEBUG


class MessageLog:
    """In a master: logs where each message goes, and how large it is, as `mitogen.io`. Not what is in it: that may be
    a password. Broker thread."""

    def __init__(self, router: 'Any') -> None:
        self._router, self._forward = router, router._forward
        router._forward = self._log
        router.crowd.send_now = lambda msg: False       # all go that way
        router.routes.remembers = False

    def _log(self, msg: Message, stream: 'Any') -> None:
        _log_safely('mitogen.io', logging.DEBUG, '%s to %s, handle %d, %d bytes%s', msg.src_id, msg.dst_id, msg.handle,
                    len(msg.data), ', dead: ' + msg.reason if msg.is_dead else '')
        self._forward(msg, stream)


def take(router: 'Any', msg: Message) -> None:
    """In a master: log what a child has sent, as ``mitogen.ctx.<name>``. Broker thread.

    Records have the attributes `mitogen_context`, `mitogen_name` (the logger's there), `mitogen_msg` and
    `mitogen_message`.
    """
    try:
        name, level, text = msg.unpickle()
    except (mitogen.core.Error, TypeError, ValueError):
        name = level = text = None
    # Not str(): a list of lists that share each other is small, and its text larger than any memory.
    if not (type(name) is type(text) is str and type(level) is int and 0 <= level <= 1000):
        mitogen.core.log(mitogen.core.DEBUG, 'no log record, from context %s', msg.src_id)
        return
    context = router.context_by_id(msg.src_id)
    # Of what was started by a child the name is what that child says.
    own = context.name if context.name and type(context.name) is str else 'context-%d' % context.context_id
    full = 'mitogen.ctx.' + visible(own[:MAX_NAME]).replace('\n', ' ')
    logger = nearest_logger(full)
    if logger.isEnabledFor(level):
        name, shown = visible(name[:MAX_NAME]), visible(text[:MAX_TEXT])
        # What follows is no record of its own, and must not look like one.
        lines = name.replace('\n', ' '), shown.replace('\n', '\n    ')
        logger.handle(logger.makeRecord(full, level, __file__, 0, '%s: %s', lines, None, extra={
            'mitogen_context': context, 'mitogen_name': name, 'mitogen_msg': msg, 'mitogen_message': shown}))


def nearest_logger(name: str) -> logging.Logger:
    """Return the logger of that name, or the next above that exists. None is made: logging would keep one for each
    context that there ever was, and a child that starts children, or says so, could fill the memory with them."""
    while name:
        logger = logging.root.manager.loggerDict.get(name)
        if isinstance(logger, logging.Logger):      # or else the place of one, should it come
            return logger
        name = name.rpartition('.')[0]
    return logging.root

"""
Core and configuration -> the command line and the bytes that make a child.

Ring 1, pure. The compressed core is the same for every child, so it is compressed once; the few hundred bytes of
configuration that differ are added to a copy of the compressor.
"""

import base64
import zlib

import mitogen.boot.first_stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Sequence

#: Largest core and configuration, compressed. What is sent before the first call decides how long a connection takes
#: on a slow line, and whether it fits the first window of a TCP connection.
MAX_PAYLOAD = 10240

#: Largest command line of a child that reads its core.
MAX_COMMAND = 400


class Payload:
    """What a child is made of.

    :param core: minified source of mitogen.core.
    :param package: minified source of mitogen/__init__.py.
    """

    def __init__(self, core: str, package: str) -> None:
        self._package = package
        # Raw deflate. A smaller memory level splits blocks where the statistics of source change: 60 bytes less.
        self._compressor = zlib.compressobj(9, zlib.DEFLATED, -15, 6)
        self._head = self._compressor.compress(core.encode())

    def build(self, config: 'Dict[str, Any]') -> bytes:
        """Return what the first stage decompresses and runs: the core, and at its end the life of one child.

        :param config: for mitogen.core.ExternalContext; plain values that repr() shows as Python can read them.
        """
        compressor = self._compressor.copy()
        config = dict(config, package=self._package)
        tail = '\nname_process(sys.argv[1])\nExternalContext(%r).main()\n' % config
        return self._head + compressor.compress(tail.encode()) + compressor.flush()


class AtStart:
    """Value of `on_start` in a configuration: what a child does before its first call. Its repr() is the code.

    In a fork it is called, elsewhere it is read.
    """

    def __repr__(self) -> str:
        return 'lambda econtext: econtext.load_module("mitogen.debug").begin(econtext)'

    def __call__(self, econtext: 'Any') -> None:
        econtext.load_module('mitogen.debug').begin(econtext)


def command(python: 'Sequence[str]', name: str, payload: bytes, carried: bool = False) -> 'List[str]':
    """Return the arguments that start a child.

    :param python: the interpreter, and what runs it.
    :param name: what ps will show.
    :param carried: True: the command line itself holds the payload; False: it comes on standard input.
    """
    if carried:
        return list(python) + ['-c', mitogen.boot.first_stage.CARRYING, name, base64.b64encode(payload).decode()]
    return list(python) + ['-c', mitogen.boot.first_stage.READING, name, str(len(payload))]


def configuration(context_id: int, parent_ids: 'Sequence[int]', token: str,
                  router: 'Dict[str, Any]') -> 'Dict[str, Any]':
    """Return the configuration of a child.

    :param context_id: its id.
    :param parent_ids: ids of those above it, nearest first.
    :param token: random text; the child is ready when it has written it backwards.
    :param router: attributes of its router: max_message_size, unidirectional, log_level.
    """
    return {'context_id': context_id, 'parent_ids': list(parent_ids), 'token': token, 'router': router}

"""
Core and configuration -> the command line and the bytes that make a child.

Ring 1, pure. The core is the same for every child, so it is compressed once; the few hundred bytes of configuration
that differ are added to a copy of the compressor.
"""

import binascii
import marshal
import sys
import zlib

import mitogen
from mitogen.boot.first_stage import CARRYING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple

#: Largest core and configuration, compressed. What is sent before the first call decides how long a connection takes
#: on a slow line, and whether it fits the first window of a TCP connection.
MAX_PAYLOAD = 10240

#: Largest command line of a child that reads its core.
MAX_COMMAND = 400


#: What COMPILED runs. `core` is there, and stays for children of the child; the program may be older than what its
#: interpreter's name stands for by now.
RUN = '''
if sys.hexversion >> 16 != %d:
    sys.exit('Python was replaced by another version since the parent of this process started')
module = sys.modules['mitogen.core'] = type(sys)('mitogen.core')
module.CODE = core
exec(marshal.loads(zlib.decompress(core)), module.__dict__)
exec(%r, module.__dict__)
'''


class Payload:
    """What a child is made of. Any thread but the broker's.

    :param origin: where the core is from: a mitogen.modules.relay.Relay.
    """

    def __init__(self, origin: 'Any') -> None:
        self._origin = origin
        self._source: 'Optional[Tuple[bytes, zlib._Compress]]' = None      # compressed, and the compressor
        self._code = b''

    def build(self, config: 'Dict[str, Any]') -> bytes:
        """Return what the first stage decompresses and runs: the core, and at its end the life of one child.

        :param config: for mitogen.core.ExternalContext; plain values that repr() shows as Python can read them.
        """
        if self._source is None:
            self._source = begin(self._origin.core_source())
        head, compressor = self._source[0], self._source[1].copy()
        return head + compressor.compress(self._life(config).encode()) + compressor.flush()

    def build_compiled(self, config: 'Dict[str, Any]') -> bytes:
        """The same for a child whose Python is the one that runs this."""
        if not self._code:
            self._code = self._origin.core_code()
        return marshal.dumps((self._code, RUN % (sys.hexversion >> 16, self._life(config))))

    def _life(self, config: 'Dict[str, Any]') -> str:
        return '\nname_process(sys.argv[1])\nExternalContext(%r).main()\n' % dict(config, version=mitogen.__version__)


def begin(core: str) -> 'Tuple[bytes, zlib._Compress]':
    """Compress source of the core, to which something will be added; return what there is so far, and the compressor.

    Raw deflate. A new block where the statistics of source change, first at the constants' end: 90 bytes less.
    """
    compressor, head = zlib.compressobj(9, zlib.DEFLATED, -15, 9), b''
    for start in 'class Error', 'class BasicStream':
        before = core.partition('\n' + start)[0]
        head += compressor.compress(before.encode()) + compressor.flush(zlib.Z_BLOCK)
        core = core[len(before):]
    return head + compressor.compress(core.encode()), compressor


class AtStart:
    """Value of `on_start` in a configuration: what a child does before its first call. Its repr() is the code.

    In a fork it is called, elsewhere it is read.
    """

    def __repr__(self) -> str:
        return 'lambda econtext: econtext.load_module("mitogen.debug").begin(econtext)'

    def __call__(self, econtext: 'Any') -> None:
        econtext.load_module('mitogen.debug').begin(econtext)


def command(python: 'Sequence[str]', stage: str, name: str, payload: bytes) -> 'List[str]':
    """Return the arguments that start a child.

    :param python: the interpreter, and what runs it.
    :param stage: the first stage, one of mitogen.boot.first_stage.
    :param name: what ps will show.
    """
    last = binascii.b2a_base64(payload, newline=False).decode() if stage is CARRYING else str(len(payload))
    return [*python, '-c', stage, name, last]


def configuration(context_id: int, parent_ids: 'Sequence[int]', token: str,
                  router: 'Dict[str, Any]') -> 'Dict[str, Any]':
    """Return the configuration of a child.

    :param context_id: its id.
    :param parent_ids: ids of those above it, nearest first.
    :param token: random text; the child is ready when it has written it backwards.
    :param router: attributes of its router: max_message_size, unidirectional, log_level.
    """
    return {'context_id': context_id, 'parent_ids': list(parent_ids), 'token': token, 'router': router}

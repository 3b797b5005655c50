"""
Data files inside packages that only the master has: importlib.resources reads them through this.

Ring 1. Every access asks the master, which serves what lies inside a package that it may serve, and nothing else.
Any thread but the broker's.
"""

import io

import mitogen.core
from mitogen.core import GET_RESOURCE, Message, Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Iterator, List


def ask(router: 'Any', package: str, path: str) -> 'Any':
    """Ask the master for a path inside a package.

    :returns: bytes of a file; list of (name, whether it is a folder) of a folder; None: there is nothing.
    :raises OSError: no answer came.
    """
    # Context.send_await() would bring in all that a parent needs. From nobody else: handles can be guessed.
    receiver = Receiver(router, persist=False, respondent=router.context_by_id(0))
    try:
        router.route(Message.pickled((package, path), handle=GET_RESOURCE, reply_to=receiver.handle))
        return receiver.get(mitogen.core.MODULE_TIMEOUT).unpickle()
    except mitogen.core.Error as exc:
        raise OSError('resource %s of package %s: %s' % (path, package, exc)) from None
    finally:
        receiver.close()


class Resource:
    """A file or folder inside a package: what importlib.resources calls Traversable."""

    def __init__(self, router: 'Any', package: str, path: str = '') -> None:
        self._router, self._package, self._path = router, package, path

    @property
    def name(self) -> str:
        return self._path.rpartition('/')[2] or self._package.rpartition('.')[2]

    def __repr__(self) -> str:
        return 'Resource(%r, %r)' % (self._package, self._path)

    def _get(self) -> 'Any':
        return ask(self._router, self._package, self._path)

    def iterdir(self) -> 'Iterator[Resource]':
        content = self._get()
        if not isinstance(content, list):
            raise NotADirectoryError(str(self))
        return (self.joinpath(name) for name, is_folder in content)

    def is_dir(self) -> bool:
        return isinstance(self._get(), list)

    def is_file(self) -> bool:
        return isinstance(self._get(), bytes)

    def joinpath(self, *names: str) -> 'Resource':
        return Resource(self._router, self._package, '/'.join(filter(None, (self._path,) + names)))

    def __truediv__(self, name: str) -> 'Resource':
        return self.joinpath(name)

    def read_bytes(self) -> bytes:
        content = self._get()
        if not isinstance(content, bytes):
            raise (FileNotFoundError if content is None else IsADirectoryError)(str(self))
        return content

    def read_text(self, encoding: str = 'utf-8', errors: str = 'strict') -> str:
        return self.read_bytes().decode(encoding, errors)

    def open(self, mode: str = 'r', *args: 'Any', **kwargs: 'Any') -> 'Any':
        stream = io.BytesIO(self.read_bytes())
        return stream if 'b' in mode else io.TextIOWrapper(stream, *args, **kwargs)


class Reader:
    """What importlib.resources asks of a loader: the protocol of Python 3.7 to 3.12, and files() of 3.10 and later."""

    def __init__(self, router: 'Any', package: str) -> None:
        self._root = Resource(router, package)

    def files(self) -> Resource:
        return self._root

    def open_resource(self, name: str) -> 'BinaryIO':
        return io.BytesIO(self._root.joinpath(name).read_bytes())

    def resource_path(self, name: str) -> str:
        raise FileNotFoundError('%s exists in the master only' % name)      # then its content is asked for

    def is_resource(self, name: str) -> bool:
        return self._root.joinpath(name).is_file()

    def contents(self) -> 'List[str]':
        return [entry.name for entry in self._root.iterdir()]

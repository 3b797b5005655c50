"""
What is in a module that Ansible has packed (AnsiballZ): its files, its parameters, how it wants to be run.

Ring 2, pure. Such a module is a Python program around a zip file in base64. There are two layouts, of ansible-core 2.16
to 2.18 and of 2.19 to 2.21. A program that is not exactly one of these is not recognised, and is then run as any
other: a layout that is new costs speed, never correctness.
"""

import ast
import base64
import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections import OrderedDict
from typing import Any, NamedTuple

#: Archives of which the list of files is remembered. A playbook has some dozens.
MAX_ARCHIVES = 500

#: What stands before the archive, and behind it. As it is nearly all of the program, nothing is searched for inside.
ZIPS = (b"\nzip_data='", b"',\n"), (b"\n    ZIPDATA = '", b"'\n")

#: The new layout: what stands before the arguments, and which there are.
CALL = b'\nif __name__ == "__main__":\n    _ansiballz_main(\n'
ARGUMENTS = {'ansible_module', 'module_fqn', 'profile', 'date_time', 'rlimit_nofile', 'params', 'extensions',
             'zip_data'}
LOADER = b'from ansible.module_utils._internal._ansiballz import _loader\n'

#: The old one: lines with values, and lines that show that it is what we know.
PARAMS = re.compile(rb'^    ANSIBALLZ_PARAMS = (.+)$', re.M)
RUN = re.compile(rb"^        runpy\.run_module\(mod_name='([\w.]+)', init_globals=dict\(_module_fqn='([\w.]+)', "
                 rb"_modlib_path=modlib_path\),\s+run_name='__main__', alter_sys=True\)$", re.M)
NAME = re.compile(rb"^        temp_path = tempfile\.mkdtemp\(prefix='ansible_' \+ '([\w.-]+)' \+ '_payload_'\)$", re.M)
LIMIT = re.compile(rb'^    requested_soft = min\(existing_hard, (\d+)\)$', re.M)
ARGS = b'\n        basic._ANSIBLE_ARGS = json_params\n'

#: Modules that want to see the zip file itself: to run themselves again with another interpreter, for the most part.
WANTS_FILE = b'_modlib_path', b'pkgutil', b'importlib.resources', b'respawn'


class Module(NamedTuple):
    """A module and what it is run with.

    :ivar name: short name, for names of temporary files.
    :ivar fqn: name by which it is imported.
    :ivar params: its parameters, as JSON.
    :ivar profile: how these are written; None: the old layout, which knows no profiles.
    :ivar limit: wanted number of descriptors; 0: as it is.
    :ivar members: path in the archive -> digest of the file.
    :ivar on_disk: it wants the archive as a file.
    """

    name: str
    fqn: str
    params: str
    profile: 'str | None'
    limit: int
    members: 'dict[str, str]'
    on_disk: bool


class Library:
    """The files of all modules seen so far, by digest. Not for two threads at once."""

    def __init__(self) -> None:
        self.files: 'dict[str, bytes]' = {}         # digest -> compressed, without a header
        self._archives: 'OrderedDict[bytes, dict[str, str] | None]' = OrderedDict()
        self._wanting: 'set[str]' = set()           # digests of those that want the zip file

    def module(self, script: bytes) -> 'Module | None':
        """Read a packed module; None: it is something else."""
        code, packed = _apart(script)
        values = _new_values(code) or _old_values(code) if packed else None
        if values is None:
            return None
        members = self._members(packed)
        module = members and members.get(values['fqn'].replace('.', '/') + '.py')
        if not members or not module:
            return None
        on_disk = module in self._wanting or 'ansible/module_utils/common/respawn.py' in members
        return Module(members=members, on_disk=on_disk, **values)

    def _members(self, packed: bytes) -> 'dict[str, str] | None':
        key = hashlib.sha256(packed).digest()
        if key in self._archives:
            self._archives.move_to_end(key)
        else:
            self._archives[key] = self._unpack(packed)
            if len(self._archives) > MAX_ARCHIVES:
                self._archives.popitem(last=False)
        return self._archives[key]

    def _unpack(self, packed: bytes) -> 'dict[str, str] | None':
        members = {}
        try:
            data = base64.b64decode(packed, validate=True)
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for info in archive.infolist():
                    if not re.match(r'[\w/]+\.py\Z', info.filename, re.A):
                        return None
                    source = archive.read(info)
                    members[info.filename] = self._keep(source, _compressed(source, data, info))
        except (ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError):
            return None
        return members

    def _keep(self, source: bytes, compressed: bytes) -> str:
        digest = hashlib.sha256(source).hexdigest()[:32]
        if digest not in self.files:
            self.files[digest] = compressed
            if any(word in source for word in WANTS_FILE):
                self._wanting.add(digest)
        return digest


def _compressed(source: bytes, data: bytes, info: zipfile.ZipInfo) -> bytes:
    """Return a member of an archive as it is there: to compress all anew takes longer than to read them."""
    if info.compress_type != zipfile.ZIP_DEFLATED:
        return zlib.compress(source)[2:-4]      # without header and checksum
    # A header of 30 bytes; at its end there are the lengths of a name and of more, which follow.
    begin = info.header_offset + 30 + sum(struct.unpack_from('<HH', data, info.header_offset + 26))
    return data[begin:begin + info.compress_size]


def _apart(script: bytes) -> 'tuple[bytes, bytes]':
    """Return a program without its archive, where nothing is left between two quotes; and that, or b'' if it has none
    or several."""
    for begin, end in ZIPS:
        before, found, rest = script.partition(begin)
        packed, closed, after = rest.partition(end)
        if closed and begin not in after:
            return before + found + closed + after, packed
    return script, b''


def _new_values(code: bytes) -> 'dict[str, Any] | None':
    head, call, tail = code.rpartition(CALL)
    lines = tail.decode('utf-8', 'replace').split('\n')
    if not call or LOADER not in head or lines[-2:] != [')', '']:
        return None
    texts = dict(line.partition('=')[::2] for line in lines[:-2])
    if set(texts) != ARGUMENTS or not all(text.endswith(',') for text in texts.values()):
        return None
    try:
        values = {name: ast.literal_eval(text[:-1]) for name, text in texts.items() if name != 'date_time'}
    except (ValueError, SyntaxError):
        return None
    if values['extensions']:            # a debugger, or coverage
        return None
    return dict(name=values['ansible_module'], fqn=values['module_fqn'], params=values['params'],
                profile=values['profile'], limit=values['rlimit_nofile'] or 0)


def _old_values(code: bytes) -> 'dict[str, Any] | None':
    params, run, name = (pattern.search(code) for pattern in (PARAMS, RUN, NAME))
    if not (params and run and name) or ARGS not in code or run.group(1) != run.group(2):
        return None
    if b'coverage' in code[:params.start()] + code[params.end():]:
        return None
    limit = LIMIT.search(code)
    try:
        text = ast.literal_eval(params.group(1).decode())
    except (ValueError, SyntaxError):
        return None
    return dict(name=name.group(1).decode(), fqn=run.group(1).decode(), params=text, profile=None,
                limit=int(limit.group(1)) if limit else 0)

"""
Runs modules of Ansible, each in a forked child of a process that has the common part of them loaded.

Ring 1. What is here runs in the template, see mitogen.ansible.template, and in its children: a child lives as a Python
that was started for this module would. What it writes goes to the broker process as it is. Nothing of this library can
be imported there, as modules could do it too.

The template never runs a module and changes nothing of its own but what it has imported, and in that what
mitogen.ansible.ease tells. It may be used for a module if the files that it has imported are, to the byte, those that
the module brings: the broker process sees to that.
"""

import atexit
import gc
import io
import os
import runpy
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import zlib
from importlib.machinery import ModuleSpec

from mitogen.ansible.ease import ease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any, Dict, Iterable, NoReturn, Optional

#: What every module imports, and with it most of what is common to all. The second is there since 2.19.
COMMON = 'ansible/module_utils/basic.py', 'ansible/module_utils/_internal/_ansiballz/_loader.py'

#: The package that most modules are in, and empty. Those that are elsewhere will not find it.
PACKAGE = 'ansible/modules/__init__.py'

#: Where the files of a module seem to come from, when no zip file is written.
ROOT = '/ansible_payload.zip'

#: What the common part imports in turn, and what some modules import beside it.
STANDARD = (('json', 'locale', 'subprocess', 'platform', 'syslog', 'shlex', 'grp', 'inspect', 'hashlib', 'datetime',
             'collections.abc', 'typing', 'fcntl', 'selectors', 'textwrap', 'copy', 'ast', 'enum', 'contextlib',
             'functools', 'importlib.util', 'logging'),
            ('dataclasses', 'getpass', 'decimal', 'pathlib', 'queue', 'resource', 'zipfile', 'base64', 'filecmp',
             'glob'))

#: What a module says that ends without a result, in the old layout. The new one has a text of its own for that.
NO_EXIT = '{"msg": "New-style module did not handle its own exit", "failed": true}'

_sources = {}       # type: Dict[str, bytes]        # digest -> source
_codes = {}         # type: Dict[str, CodeType]     # digest and path -> compiled


def become_plain() -> None:
    """Make of a fork what a Python that was started for a module would be, but for the garbage collector, as imports
    leave none; and for descriptor 3, by which it is told what to do."""
    gc.disable()
    os.setsid()                     # Ctrl-C in a terminal is not for us
    null, pipe = os.open(os.devnull, os.O_RDWR), os.pipe()
    for old, fd in (null, 0), (pipe[1], 1), (pipe[1], 2):
        os.dup2(old, fd)
    _open_streams()                 # on pipes, as modules will have: whether a stream can seek is remembered
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.closerange(4, _highest_descriptor() + 1)
    for number in range(1, signal.NSIG):
        if signal.getsignal(number) not in (None, signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.meta_path[:] = [finder for finder in sys.meta_path if not _is_own(type(finder).__module__)]
    for name in [name for name in sys.modules if _is_own(name)]:
        del sys.modules[name]
    sys.argv[:] = ['']
    sys.path[:] = [entry for entry in sys.path if entry not in ('', '.')]


def _is_own(name: str) -> bool:
    return name == 'mitogen' or name.startswith(('mitogen.', '__mitogen'))


def _highest_descriptor() -> int:
    if sys.platform.startswith(('linux', 'darwin')):        # elsewhere the first few may be all that it lists
        try:
            return max(map(int, os.listdir('/dev/fd')))
        except (OSError, ValueError):
            pass
    return os.sysconf('SC_OPEN_MAX')


def _open_streams() -> None:
    """Standard streams as Python opens them, in the encoding that it has found for this environment."""
    for name, fd, mode in ('stdin', 0, 'rb'), ('stdout', 1, 'wb'), ('stderr', 2, 'wb'):
        first = getattr(sys, '__%s__' % name)
        stream = io.TextIOWrapper(open(fd, mode, closefd=False),
                                  encoding=getattr(first, 'encoding', None) or 'utf-8',
                                  errors=getattr(first, 'errors', None) or 'strict',
                                  newline=None if fd == 0 else '\n', line_buffering=fd == 2)
        setattr(sys, name, stream)
        setattr(sys, '__%s__' % name, stream)


def prepare(names: 'Iterable[str]') -> None:
    """Import what modules will import of the standard library: one part of STANDARD."""
    for name in names:
        try:
            __import__(name)
        except ImportError:
            pass            # too new, too old, or left out here


def keep(files: 'Dict[str, bytes]') -> None:
    """Keep files of modules: digest -> compressed source, as zip files have it."""
    for digest, data in files.items():
        _sources[digest] = zlib.decompress(data, -15)


def _code(path: str, digest: str) -> 'CodeType':
    key = digest + path
    if key not in _codes:
        _codes[key] = compile(_sources[digest], '%s/%s' % (ROOT, path), 'exec', dont_inherit=True)
    return _codes[key]


class Finder:
    """Imports the files of one module, and nothing else; stands first, as its zip file would."""

    def __init__(self, members: 'Dict[str, str]', root: str = ROOT) -> None:
        self.members, self.root = members, root

    def _path(self, fullname: str) -> 'Optional[str]':
        base = fullname.replace('.', '/')
        for path in base + '/__init__.py', base + '.py':
            if path in self.members:
                return path
        return None

    def _known(self, fullname: str) -> str:
        path = self._path(fullname)
        if path is None:
            raise ImportError('no module %s' % fullname, name=fullname)
        return path

    def find_spec(self, fullname: str, path: 'Any' = None, target: 'Any' = None) -> 'Optional[ModuleSpec]':
        found = self._path(fullname)
        if found is None:
            return None
        spec = ModuleSpec(fullname, self, origin='%s/%s' % (self.root, found),      # type: ignore[arg-type]
                          is_package=found.endswith('/__init__.py'))
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append('%s/%s' % (self.root, fullname.replace('.', '/')))
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Let the import system make it."""

    def exec_module(self, module: 'ModuleType') -> None:
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, fullname: str) -> 'CodeType':
        path = self._known(fullname)
        return _code(path, self.members[path])

    def get_source(self, fullname: str) -> str:
        return _sources[self.members[self._known(fullname)]].decode('utf-8')

    def is_package(self, fullname: str) -> bool:
        return self._known(fullname).endswith('/__init__.py')

    def get_filename(self, fullname: str) -> str:
        return '%s/%s' % (self.root, self._known(fullname))


def warm(members: 'Dict[str, str]') -> 'Dict[str, str]':
    """Import what modules have in common, from the files of one of them.

    :returns: path -> digest of all that was imported.
    """
    finder = Finder(members)
    sys.meta_path.insert(0, finder)
    try:
        for path in COMMON:
            if path in members:
                __import__(path[:-3].replace('/', '.'))
        loaded = [name for name, module in list(sys.modules.items())
                  if getattr(getattr(module, '__spec__', None), 'loader', None) is finder]
        if PACKAGE in members and not _sources[members[PACKAGE]]:
            __import__('ansible.modules')
    finally:
        sys.meta_path.remove(finder)
    ease()
    return {path: members[path] for path in map(finder._known, loaded)}


def run(module: 'Dict[str, Any]', out: int, err: int) -> int:
    """Run a module in a child; return its process id.

    :param module: fields of mitogen.ansible.ansiballz.Module; `env`: variables; `cwd`: folder, or None;
        `python`: what the interpreter was asked for as, or None.
    :param out, err: its output and errors.
    """
    for path, digest in module['members'].items():
        try:
            _code(path, digest)     # here, where it stays, and not in each child
        except (SyntaxError, ValueError):
            pass                    # this Python is too old, or the module is wrong: the child will say so
    pid = os.fork()
    if not pid:
        _live(module, out, err)
    return pid


# ---- the child

def _live(module: 'Dict[str, Any]', out: int, err: int) -> 'NoReturn':
    status = 1
    try:
        _put_right(module, out, err)
        status = _run_as_main(module)
        status = _finish(status)
    finally:
        os._exit(status)


def _put_right(module: 'Dict[str, Any]', out: int, err: int) -> None:
    """Become a process of its own."""
    gc.enable()
    os.setsid()                     # a daemon of the module's must not be ended with us, nor we with it
    os.dup2(out, 1)
    os.dup2(err, 2)
    # There are no others: those of the link, by which the template is told what to do, and of the output.
    os.closerange(3, max(out, err) + 1)
    if 'random' in sys.modules:
        sys.modules['random'].seed()        # Python 3.6 does not do it by itself
    if module['python']:
        # The same program has several names, and a module may want to know by which it was asked for.
        sys.executable = shutil.which(module['python']) or sys.executable
    os.environ.update(module['env'])
    if PACKAGE not in module['members']:
        sys.modules.pop('ansible.modules', None)
    if 'TZ' in module['env']:
        time.tzset()
    _enter_folder(module['cwd'])
    if module['limit']:
        _limit_descriptors(module['limit'])


def _enter_folder(path: 'Optional[str]') -> None:
    if path:
        os.chdir(path)
    try:
        os.getcwd()
    except OSError:         # a folder that this user may not look into, or that is gone
        try:
            os.chdir(os.path.expanduser('~'))
        except OSError:
            os.chdir('/')


def _limit_descriptors(wanted: int) -> None:
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if wanted != soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except ValueError:
            pass            # some systems have other limits than they tell


def _run_as_main(module: 'Dict[str, Any]') -> int:
    """Run the module; return the exit status."""
    folder = None
    try:
        try:
            root = ROOT
            if module['on_disk']:
                folder = os.path.realpath(tempfile.mkdtemp(prefix='ansible_%s_payload_' % module['name']))
                root = os.path.join(folder, 'ansible_%s_payload.zip' % module['name'])
                _write_archive(module['members'], root)
            sys.meta_path.insert(0, Finder(module['members'], root))
            if folder:
                sys.path.insert(0, root)
            _start(module, root)
        finally:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        return 0
    except BaseException as exc:
        return _end_by(exc)


def _end_by(exc: BaseException) -> int:
    """Do what Python does when an exception ends a program; return the exit status."""
    if isinstance(exc, SystemExit):
        if exc.code is None or isinstance(exc.code, int):
            return (exc.code or 0) & 0xff
        sys.stderr.write('%s\n' % (exc.code,))
        return 1
    trace = exc.__traceback__
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next       # of no interest to whoever has to do with the module
    if sys.excepthook is sys.__excepthook__:
        traceback.print_exception(type(exc), exc, trace)
        return 1
    try:
        sys.excepthook(type(exc), exc, trace)       # by this the module `file` of 2.16 tells of errors
    except BaseException as other:
        sys.excepthook = sys.__excepthook__
        return _end_by(other)
    return 1


def _write_archive(members: 'Dict[str, str]', path: str) -> None:
    import zipfile
    with zipfile.ZipFile(path, 'w') as archive:
        for name, digest in members.items():
            archive.writestr(zipfile.ZipInfo(name), _sources[digest])
        # An ansible that is installed here must not come before, in whatever the module starts with this file.
        archive.writestr(zipfile.ZipInfo('sitecustomize.py'), 'import sys\nsys.path.insert(0, "%s")\n' % path)


def _start(module: 'Dict[str, Any]', root: str) -> None:
    params, name = module['params'].encode(), module['fqn']
    if module['profile'] is not None:
        loader = _import('ansible.module_utils._internal._ansiballz._loader')
        loader.run_module(json_params=params, profile=module['profile'], module_fqn=name, modlib_path=root,
                          extensions={})
        return
    setattr(_import('ansible.module_utils.basic'), '_ANSIBLE' + '_ARGS', params)
    runpy.run_module(mod_name=name, init_globals={'_module_fqn': name, '_modlib_path': root}, run_name='__main__',
                     alter_sys=True)
    print(NO_EXIT)
    sys.exit(1)


def _import(name: str) -> 'Any':
    __import__(name)
    return sys.modules[name]


def _finish(status: int) -> int:
    """What Python does at its end."""
    getattr(threading, '_' + 'shutdown')()      # waits for threads that are no daemons
    getattr(atexit, '_run' + '_exitfuncs')()
    for stream, otherwise in (sys.stdout, 120), (sys.stderr, 0):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or otherwise
    return status

"""docs/reference.rst: every public name is there, exists, and says what it promises; and nothing else is public."""

import importlib
import inspect
import re

import pytest

import mitogen.core
import mitogen.method
import support

DOCS = support.checkout() / 'docs'
TEXT = (DOCS / 'reference.rst').read_text(encoding='utf-8')

#: Module -> what programs that were written for mitogen 0.3, and our own users, use of it.
API = {
    'mitogen': '__version__ is_master context_id parent_id parent_ids main',
    'mitogen.core': 'takes_econtext takes_router ExternalContext IS_DEAD CHUNK_SIZE GET_MODULE CALL_FUNCTION '
                    'FORWARD_LOG ADD_ROUTE DEL_ROUTE ALLOCATE_ID SHUTDOWN LOAD_MODULE FORWARD_MODULE DETACHING '
                    'CALL_SERVICE Message Router Context Receiver Sender Channel Broker Latch Blob Secret Kwargs '
                    'listen unlisten fire has_parent_authority to_text set_cloexec set_block set_nonblock io_op '
                    'Error CallError ChannelError LatchError StreamError TimeoutError',
    'mitogen.parent': 'Context Router CallChain',
    'mitogen.master': 'Broker Router',
    'mitogen.select': 'Select Error',
    'mitogen.service': 'Service expose arg_spec no_reply AllowAny AllowParents Policy Pool get_or_create_pool call '
                       'Invoker SerializedInvoker DeduplicatingInvoker FileService PushFileService Error',
    'mitogen.unix': 'Listener connect is_path_dead make_socket_path Error',
    'mitogen.fakessh': 'run',
    'mitogen.utils': 'cast disable_site_packages log_to_file run_with_router with_router',
    'mitogen.minify': 'minimize_source',
    'mitogen.aio': 'call get iterate connect router',
    'mitogen.executor': 'Executor NoContexts',
    'mitogen.fanout': 'call iterate call_no_reply',
    'mitogen.debug': 'enable_stack_dumps folder',
    'mitogen.testing': 'Tree Node ManualClock leaks belongings',
    'mitogen.method': 'Method register word',
    'mitogen.boot.dialogue': 'ConnectError PasswordError HostKeyError Prompt Refusal',
    'mitogen.ssh': 'PasswordError HostKeyError',
    'mitogen.sudo': 'PasswordError', 'mitogen.su': 'PasswordError', 'mitogen.doas': 'PasswordError',
}

#: Class -> its methods and attributes that programs use.
MEMBERS = {
    'mitogen.core.Message': 'pickled dead is_dead reply unpickle',
    'mitogen.core.Router': 'myself context_by_id stream_by_id add_handler del_handler route max_message_size '
                           'unidirectional',
    'mitogen.core.Receiver': 'to_sender get empty size close notify',
    'mitogen.core.Sender': 'send close',
    'mitogen.core.Latch': 'put get close empty size',
    'mitogen.parent.Context': 'call call_async call_no_reply shutdown default_call_chain via send send_async '
                              'send_await call_service call_service_async',
    'mitogen.call.CallChain': 'call call_async call_no_reply reset',
    'mitogen.parent.Router': 'connect connect_async proxy_connect register add_route del_route allocate_id '
                             'disconnect disconnect_stream disconnect_all',
    'mitogen.master.Router': 'enable_debug enable_profiling profiling get_stats get_streams',
    'mitogen.master.Broker': 'defer defer_sync shutdown join start_receive stop_receive shutdown_timeout',
    'mitogen.modules.responder.Responder': 'whitelist_prefix blacklist_prefix add_source_override forward_modules',
    'mitogen.select.Select': 'all add remove get get_event empty size close',
    'mitogen.service.Pool': 'add stop join defer get_service',
    'mitogen.files.FileService': 'register register_prefix get',
    'mitogen.push.PushFileService': 'propagate_to propagate_paths_and_modules get',
    'mitogen.executor.Executor': 'submit shutdown',
    'mitogen.detach.ExternalContext': 'detach',
    'mitogen.connect.OutcomeReceiver': 'get cancel',
}

#: Names that a reader of the source could take for public, and that are not, by module.
INTERNAL = {
    'mitogen.core': 'encode decoder decode Framer Module ModuleTable Seed log Side BasicStream Stream Importer '
                    'forward_log LineForwarder LoggingWatch Dispatcher LeafBroker LeafRouter name_process',
    'mitogen.parent': 'is_from_neighbour grow',
    'mitogen.master': 'IdAllocator no_services',
    'mitogen.call': 'function_name encoded when_arrived',
    'mitogen.service': 'check_arguments load activate',
    'mitogen.unix': 'ClientStream AttachedRouter',
    'mitogen.fanout': 'runs numbers branches Request Fan collected_answers pass_on',
    'mitogen.debug': 'create begin log_to_file Profiles StackDumps',
    'mitogen.utils': 'call_and_show run_main',
    'mitogen.minify': 'Token',
    'mitogen.method': 'load make',
    'mitogen.sudo': 'parse_args',
    'mitogen.fakessh': 'admit Door Visit Session',
    'mitogen.boot.dialogue': 'Write Ready Fail visible Plan Dialogue describe_status only_text rebuilt',
}


def documented():
    """Yield each name that reference.rst has Sphinx show, or names."""
    for module, members in re.findall(r'^\.\. automodule:: ([\w.]+)\n   :members:(.*\n(?:      .*\n)*)', TEXT, re.M):
        every = [name for name in vars(importlib.import_module(module)) if name[0] != '_']
        names = re.findall(r'\w+', members) or every
        yield from ('%s.%s' % (module, name) for name in names)
    yield from re.findall(r'^\.\. auto(?:class|function|data):: ([\w.]+)', TEXT, re.M)


DOCUMENTED = set(documented())


def find(dotted):
    module, _, name = dotted.rpartition('.')
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:
        return getattr(find(module), name)


def in_reference(module, name):
    """Whether the page has a name; of what is found in two modules, under one of them."""
    found = find('%s.%s' % (module, name))
    homes = {'%s.%s' % (module, name), '%s.%s' % (getattr(found, '__module__', module), name)}
    words = '``%s``' % name in TEXT and not inspect.isclass(found)
    return bool(homes & DOCUMENTED) or words or '``%s`` each have' % module in TEXT


NAMES = [(module, name) for module, names in API.items() for name in names.split()]


@pytest.mark.parametrize('module, name', NAMES)
def test_every_name_that_programs_use_is_there(module, name):
    found = find('%s.%s' % (module, name))
    if inspect.isclass(found) or inspect.isfunction(found):
        assert len(inspect.getdoc(found) or '') > 20
    if module in ('mitogen.ssh', 'mitogen.sudo', 'mitogen.su', 'mitogen.doas'):
        assert '``%s`` of their own' % name in TEXT or '``mitogen.ssh`` a ``%s``' % name in TEXT
    else:
        assert in_reference(module, name)


@pytest.mark.parametrize('owner, name', [(owner, name) for owner, names in MEMBERS.items() for name in names.split()])
def test_every_method_that_programs_use_says_what_it_does(owner, name):
    kind = find(owner)
    if callable(getattr(kind, name, None)) or isinstance(getattr(kind, name, None), property):
        methods = [vars(base)[name] for base in kind.__mro__ if name in vars(base)]
        assert any(inspect.getdoc(method) for method in methods), name
    else:
        assert any(name in (base.__doc__ or '') or re.search(
            r'#: .*\n +%s\b' % name, inspect.getsource(base)) or '%s =' % name in inspect.getsource(base)
            or 'self.%s' % name in inspect.getsource(base) for base in kind.__mro__ if base is not object), name


@pytest.mark.parametrize('name', sorted(DOCUMENTED))
def test_what_the_reference_names_exists(name):
    find(name)


@pytest.mark.parametrize('module', sorted({name.rpartition('.')[0] for name in DOCUMENTED} & set(API)))
def test_nothing_else_looks_public(module):
    own = {name for name, value in vars(importlib.import_module(module)).items() if name[0] != '_'
           and (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module}
    here = {name.rpartition('.')[2] for name in DOCUMENTED if name.rpartition('.')[0] == module}
    own -= {'PasswordError', 'HostKeyError'} if 'Method' in own else set()      # the page names these in a sentence
    assert own - here == set(INTERNAL.get(module, '').split()) - here


def test_each_method_is_there_with_all_that_it_takes():
    for name, module in support.methods().items():
        assert module + '.Method' in DOCUMENTED
        kind = mitogen.method.load(name)
        said = ''.join(base.__doc__ or '' for base in kind.__mro__)
        for option in inspect.signature(kind.__init__).parameters:
            assert option in ('self', 'common') or re.search(r'\b%s\b' % option, said), (name, option)


def test_the_wire_is_as_the_page_says():
    page = (DOCS / 'howitworks.rst').read_text(encoding='utf-8')
    handles = re.findall(r'^(\d{3})    ``(\w+)``', page, re.M)
    assert len(handles) == 12
    for number, name in handles:
        assert getattr(mitogen.core, name) == int(number)
    sizes = re.findall(r'^(?:magic|destination|source|authority|handle|reply handle|length) +(\d)  ', page, re.M)
    assert sum(map(int, sizes)) == mitogen.core.HEADER.size
    assert '0x%X' % mitogen.core.MAGIC in page

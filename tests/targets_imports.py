"""What tests of imports have children do. Runs on Python 3.6 and later."""

import importlib
import importlib.util
import inspect
import os
import sys
import threading
import traceback

import mitogen.core
import mitogen.utils


def import_by_name(name):
    """Import a module; return its __name__."""
    return importlib.import_module(name).__name__


def why_not(name):
    """What importing a module raises: (name of its type, its text); None when it works."""
    try:
        importlib.import_module(name)
    except Exception as exc:
        return type(exc).__name__, str(exc)
    return None


def value_of(module, attribute):
    return getattr(importlib.import_module(module), attribute)


def attributes(name):
    """Those of a module that the import system sets."""
    module = importlib.import_module(name)
    spec = module.__spec__
    return {
        'name': module.__name__, 'file': getattr(module, '__file__', None), 'package': module.__package__,
        'path': list(module.__path__) if hasattr(module, '__path__') else None,
        'loader': type(module.__loader__).__name__,
        'spec': (spec.name, spec.origin, spec.parent, spec.submodule_search_locations is not None, spec.has_location),
    }


def source_of(module, attribute=None):
    """What inspect shows for a module or something in it."""
    found = importlib.import_module(module)
    return inspect.getsource(getattr(found, attribute) if attribute else found)


def traceback_of(module, function):
    """The traceback of a function that raises, as text."""
    try:
        getattr(importlib.import_module(module), function)()
    except Exception:
        return traceback.format_exc()
    raise AssertionError('it did not raise')


def loaded_below(top):
    """How many modules of a package are loaded, itself included."""
    return sum(name == top or name.startswith(top + '.') for name in sys.modules)


def import_in_threads(name, number):
    """Import a module in several threads at once; how many different objects they got."""
    barrier, found = threading.Barrier(number), []

    def work():
        barrier.wait(30)
        found.append(importlib.import_module(name))
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == number
    return len({id(module) for module in found})


def import_many_in_threads(names):
    """Import each of several modules in a thread of its own."""
    threads = [threading.Thread(target=importlib.import_module, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return sorted(name for name in names if name in sys.modules)


def forget_installed():
    """From now on only the standard library and what the master serves can be imported."""
    mitogen.utils.disable_site_packages()
    importlib.invalidate_caches()
    return [entry for entry in sys.path if 'site-packages' in entry]


def add_path(folder):
    """Have a folder of the child's own on its path."""
    sys.path.insert(0, folder)
    importlib.invalidate_caches()


@mitogen.core.takes_econtext
def import_on_broker_thread(name, econtext):
    """What an import there raises, where no answer could ever arrive."""
    return econtext.broker.defer_sync(lambda: why_not(name))


def current_folder():
    return os.getcwd()


def reload(name):
    return importlib.reload(importlib.import_module(name)).__name__


def find_spec(name):
    """Whether it would be found; nothing of it is executed."""
    return importlib.util.find_spec(name) is not None


@mitogen.core.takes_router
def ask_master(handle, value, router):
    """Send the master a request as a library of a child would; return the answer."""
    receiver = mitogen.core.Receiver(router)
    try:
        router.route(mitogen.core.Message.pickled(value, handle=handle, reply_to=receiver.handle))
        return receiver.get(10).unpickle()
    finally:
        receiver.close()


def django_query():
    """The SQL that a model of django makes, which takes most of what django has."""
    import django
    from django.conf import settings
    database = {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}
    settings.configure(INSTALLED_APPS=['django.contrib.contenttypes'], DATABASES={'default': database})
    django.setup()
    from django.contrib.contenttypes.models import ContentType
    return str(ContentType.objects.filter(model='x').query)


def is_compiled(fullname, econtext=None):
    """Whether a module is here as code."""
    return econtext.importer.table.modules[fullname].compiled


is_compiled.mitogen_takes_econtext = True


def file_names(fullname):
    """Files that the functions of a module, and what is within these, say that they come from."""
    todo = [fn.__code__ for fn in vars(importlib.import_module(fullname)).values() if hasattr(fn, '__code__')]
    names = set()
    while todo:
        code = todo.pop()
        names.add(code.co_filename)
        todo += [item for item in code.co_consts if hasattr(item, 'co_code')]
    return sorted(names)


def library():
    """What `mitogen` is here."""
    import mitogen

    @mitogen.main(log_level='DEBUG')
    def unharmed(router):
        raise AssertionError('this ran')
    assert unharmed.__name__ == 'unharmed'
    return mitogen.__version__, mitogen.is_master, mitogen.context_id, mitogen.parent_id, mitogen.parent_ids

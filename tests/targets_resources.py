"""Reads data files of packages in children, by each way that importlib.resources has had since Python 3.7."""

import importlib
import os
import sys

if sys.version_info >= (3, 7):
    import importlib.resources as resources

# Python 3.9 has files() too, but does not ask the loader.
MODERN = sys.version_info >= (3, 10)


def read_text(package, *names):
    """By files() where Python has that, by the older functions elsewhere, which know no folders."""
    if MODERN:
        return resources.files(package).joinpath(*names).read_text()
    return resources.read_text(package, *names)


def read_old(package, name):
    """By the functions of Python 3.7: [text, bytes, through a stream, whether it is there, names of all]."""
    with resources.open_binary(package, name) as stream:
        streamed = stream.read()
    return [resources.read_text(package, name), resources.read_binary(package, name), streamed,
            resources.is_resource(package, name), sorted(resources.contents(package))]


def list_folder(package, *names):
    """[(name, is it a file, is it a folder)] in a folder of a package, sorted."""
    folder = resources.files(package).joinpath(*names) if names else resources.files(package)
    return sorted((entry.name, entry.is_file(), entry.is_dir()) for entry in folder.iterdir())


def walk(package):
    """{path below the package: size} of all files."""
    found, todo = {}, [(resources.files(package), '')]
    while todo:
        folder, path = todo.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                todo.append((entry, path + entry.name + '/'))
            else:
                found[path + entry.name] = len(entry.read_bytes())
    return found


def open_modes(package, name):
    """The same file as text, as bytes, line by line, and as a file of this machine."""
    resource = resources.files(package) / name
    with resource.open() as text, resource.open('rb') as data, resource.open('r', encoding='latin-1') as latin:
        lines, found = list(text), [data.read(), latin.read()]
    with resources.as_file(resource) as path:
        found += [path.read_bytes(), os.path.basename(str(path)).endswith(name)]
    return [lines] + found


def why_not(package, *names):
    """Name of the error that reading raises."""
    try:
        read_text(package, *names)
    except Exception as exc:
        return type(exc).__name__
    return None


def is_there(package, *names):
    resource = resources.files(package).joinpath(*names)
    return resource.is_file() or resource.is_dir()


def package_data(package, name):
    """By pkgutil, which has only ever known the loader's get_data()."""
    import pkgutil
    return pkgutil.get_data(package, name)


def submodules(package):
    """Names that pkgutil finds in a package."""
    import pkgutil
    return sorted(info.name for info in pkgutil.iter_modules(importlib.import_module(package).__path__))

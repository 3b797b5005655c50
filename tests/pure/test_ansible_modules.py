"""Modules that Ansible has packed, in both layouts. Their wrappers are written here, as short as they may be."""

import base64
import io
import json
import zipfile
import zlib

import pytest

from mitogen.ansible import ansiballz

PARAMS = json.dumps({'ANSIBLE_MODULE_ARGS': {'data': 'quotes \' " and \\ \u00e9\n'}})

FILES = {'ansible/__init__.py': b'', 'ansible/module_utils/basic.py': b'BASIC = 1\n',
         'ansible/modules/ping.py': b'print("pong")\n'}


def packed(files, kind=zipfile.ZIP_DEFLATED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w', kind) as archive:
        for name, source in files.items():
            archive.writestr(name, source)
    return base64.b64encode(data.getvalue()).decode()


def new_layout(files=FILES, **changes):
    values = dict(ansible_module='ping', module_fqn='ansible.modules.ping', profile='legacy', date_time=None,
                  rlimit_nofile=0, params=PARAMS, extensions={}, zip_data=packed(files))
    values.update(changes)
    lines = '\n'.join('%s=%r,' % pair for pair in values.items())
    return ('#!/usr/bin/python3\ndef _ansiballz_main(**kw):\n'
            '        from ansible.module_utils._internal._ansiballz import _loader\n\n\n'
            'if __name__ == "__main__":\n    _ansiballz_main(\n%s\n)\n' % lines).encode()


OLD = """#!/usr/bin/python3
def _ansiballz_main():
%(limit)s    ZIPDATA = %(zip)r
    def invoke_module(modlib_path, temp_path, json_params):
        from ansible.module_utils import basic
        basic._ANSIBLE_ARGS = json_params
%(more)s        RUN
    ANSIBALLZ_PARAMS = %(params)s
    try:
        temp_path = tempfile.mkdtemp(prefix='ansible_' + 'ping' + '_payload_')
    finally:
        pass
"""

# Its first line is as long as this.
RUN = ("runpy.run_module(mod_name='ansible.modules.ping', init_globals=dict(_module_fqn=%(fqn)r, "
       "_modlib_path=modlib_path),\n                         run_name='__main__', alter_sys=True)")


def old_layout(files=FILES, fqn='ansible.modules.ping', limit='', more='', params=PARAMS):
    values = dict(zip=packed(files), fqn=fqn, limit=limit, more=more, params=repr(params))
    return (OLD.replace('RUN', RUN) % values).encode()


@pytest.mark.parametrize('script, profile', [(new_layout(), 'legacy'), (old_layout(), None)])
def test_both_layouts_say_the_same(script, profile):
    library = ansiballz.Library()
    module = library.module(script)
    assert (module.name, module.fqn, module.profile, module.limit) == ('ping', 'ansible.modules.ping', profile, 0)
    assert module.params == PARAMS
    assert set(module.members) == set(FILES)
    assert not module.on_disk


def test_a_limit_of_descriptors():
    assert ansiballz.Library().module(new_layout(rlimit_nofile=512)).limit == 512
    limit = '    requested_soft = min(existing_hard, 512)\n'
    assert ansiballz.Library().module(old_layout(limit=limit)).limit == 512


def test_files_are_kept_once():
    library = ansiballz.Library()
    first = library.module(new_layout())
    other = dict(FILES, **{'ansible/modules/ping.py': b'print("other")\n'})
    second = library.module(old_layout(other))
    same = [path for path in FILES if first.members[path] == second.members[path]]
    assert sorted(same) == ['ansible/__init__.py', 'ansible/module_utils/basic.py']
    assert len(library.files) == 4


@pytest.mark.parametrize('kind', [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2])
def test_files_travel_as_targets_take_them(kind):
    """Whatever `module_compression` is."""
    library = ansiballz.Library()
    module = library.module(new_layout(zip_data=packed(FILES, kind)))
    assert {path: zlib.decompress(library.files[digest], -15) for path, digest in module.members.items()} == FILES


def test_archives_are_forgotten_in_the_end(monkeypatch):
    monkeypatch.setattr(ansiballz, 'MAX_ARCHIVES', 2)
    library = ansiballz.Library()
    for number in range(4):
        assert library.module(new_layout(dict(FILES, **{'ansible/x.py': b'%d' % number})))
    assert len(library._archives) == 2


@pytest.mark.parametrize('files', [
    dict(FILES, **{'ansible/modules/ping.py': b'from ansible.module_utils.common.respawn import respawn_module\n'}),
    dict(FILES, **{'ansible/modules/ping.py': b'import pkgutil\n'}),
    dict(FILES, **{'ansible/module_utils/common/respawn.py': b''}),
])
def test_modules_that_want_their_archive_as_a_file(files):
    assert ansiballz.Library().module(new_layout(files)).on_disk


@pytest.mark.parametrize('script', [
    b'', b'#!/usr/bin/python3\nprint(1)\n',
    new_layout(extensions={'_debugpy': {}}),                            # a debugger
    new_layout().replace(b'profile=', b'colour='),                      # an argument that nobody knows
    new_layout().replace(b'rlimit_nofile=0,\n', b''),                   # one that is missing
    new_layout(zip_data='not base64!'), new_layout(zip_data='AAAA'),
    new_layout(module_fqn='ansible.modules.other'),                     # not in the archive
    new_layout(dict(FILES, **{'../x.py': b''})), new_layout(dict(FILES, **{'data.bin': b''})),
    new_layout() + b'import os\n',
    new_layout().replace(b'import _loader', b'import _something'),
    new_layout().replace(b"profile='legacy'", b"profile=open('x')"),
    new_layout().replace(b'zip_data=', b"zip_data='AAAA',\nzip_data="),  # two archives
    old_layout().replace(b'    ZIPDATA = ', b"    ZIPDATA = 'AAAA'\n    ZIPDATA = "),
    old_layout().replace(b"'\n    def invoke", b"' + x\n    def invoke"),
    old_layout(fqn='ansible.modules.other'),
    old_layout(more='        import coverage\n'),
    old_layout().replace(b'basic._ANSIBLE_ARGS', b'basic._OTHER_ARGS'),
    old_layout().replace(b'ANSIBALLZ_PARAMS = ', b'ANSIBALLZ_PARAMS = str.lower'),
    old_layout().replace(b'_payload_', b'_other_'),
])
def test_anything_else_is_not_recognised(script):
    assert ansiballz.Library().module(script) is None

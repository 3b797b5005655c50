"""A target whose disks are all full, or all read-only, serves like any other: nothing is written there."""

import os

import pytest

import mitogen.core
import targets


@pytest.fixture(params=['full_disk', 'read_only_fs'])
def disk(request):
    """A `python_path` that starts the target in such a place."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=['local', 'ssh', 'sudo'])
def target(request, disk, router, ssh):
    """A context of root's in such a place."""
    if request.param == 'local':
        return router.local(python_path=disk)
    if request.param == 'ssh':
        return ssh('root', python_path=disk)
    return router.sudo(via=ssh('mtgnopw'), python_path=disk)


def test_it_works_where_nothing_can_be_written(target):
    folders = [os.curdir, '/tmp', '/var/tmp', '/dev/shm']
    assert set(target.call(targets.why_not_writable, folder) for folder in folders) <= {'ENOSPC', 'EROFS'}
    assert target.call(targets.describe_square, 4) == 'a green square of 16'
    assert target.call(targets.echo, b'x' * (3 << 20)) == b'x' * (3 << 20)
    with pytest.raises(mitogen.core.CallError, match='ValueError: full'):
        target.call(targets.fail, 'full')

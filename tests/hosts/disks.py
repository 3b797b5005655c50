"""Machines on which nothing can be written: every file system full, or every one read-only.

Only for the target: its interpreter is started in a mount namespace of its own, and what is changed there is seen by
nobody else and gone when it ends.
"""

import pytest

from hosts import lab

# Where programs put files when nobody tells them where: TMPDIR and HOME point there as well.
WRITABLE_PLACES = '/tmp /var/tmp /dev/shm /home /run /mnt'

# Two inodes are the folder itself and the file that fills it: neither a byte nor an empty file goes in.
FILL = '''
for place in %s; do
    mount -t tmpfs -o size=4k,nr_inodes=2,mode=1777 full $place
    dd if=/dev/zero of=$place/full bs=4k count=1 2>/dev/null
done
export HOME=/home TMPDIR=/tmp
cd /home
''' % WRITABLE_PLACES

# The flag of this mount alone, not of the file system, which others are writing to.
WRITE_PROTECT = '''
mount -o remount,bind,ro /
for place in %s; do
    mount --bind $place $place
    mount -o remount,bind,ro $place
done
export HOME=/home TMPDIR=/tmp
''' % WRITABLE_PLACES


def full_disk(interpreter):
    """A `python_path` for a target, as root, whose disks are all full."""
    return _in_private_mounts(FILL, interpreter)


def read_only_disk(interpreter):
    """A `python_path` for a target, as root, whose disks are all read-only."""
    return _in_private_mounts(WRITE_PROTECT, interpreter)


def need_mounts():
    """Skip the test that asked where this machine lets nobody mount anything, as in some containers."""
    lab.need_root()
    done = lab.run([*_private_mounts('mount -t tmpfs none /mnt'), 'true'], check=False)
    if done.returncode:
        pytest.skip('mounting is not permitted here: ' + done.stdout.strip())


def _private_mounts(script):
    return [lab.program('unshare'), '--mount', 'sh', '-ec', script + '\nexec "$@"', 'sh']


def _in_private_mounts(script, interpreter):
    return [*_private_mounts(script), interpreter]

"""Root file systems for containers: four releases of Debian, each with its Python; one that boots; one without Python.

Making one takes ten to forty seconds, so they are kept from run to run, and nobody writes to them: who needs to,
copies.
"""

import os
import pathlib
import shutil
import tempfile

from hosts import lab

CACHE = pathlib.Path(os.environ.get('MITOGEN_TEST_CACHE', '/var/cache/mitogen-tests'))

# Suite -> version of its Python.
PYTHONS = {'bullseye': '3.9', 'bookworm': '3.11', 'trixie': '3.13', 'sid': '3.14'}

# What a root file system may be asked for: suites, unpacked but not configured, which takes a third of the time; one
# with systemd as init, which has to be configured; one that has nothing but busybox.
BOOTABLE, BUSYBOX = 'bookworm-systemd', 'busybox'

# A change of what is in them changes this, so that old ones are not taken for new.
EDITION = '2'

UNPACKED = 'python3,dash,coreutils,libc-bin,base-files'
# In one of them also what copies files at the other end of fakessh.
PACKAGES = {BOOTABLE: 'python3,systemd-sysv,dbus,libpam-systemd',
            'bookworm': UNPACKED + ',tar,rsync,openssh-client,openssh-sftp-server'}

# `guest` is an account that containers have and this machine does not.
USERS = 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\nguest:x:1234:1234::/:/bin/sh\n'
GROUPS = 'root:x:0:\nnogroup:x:65534:\nguest:x:1234:\npeople:x:1235:guest\n'

# Seconds, for a slow mirror.
BUILD_TIMEOUT = 300


def root_file_system(name):
    """Folder with the root file system of that name, made if there is none yet. Not to be written to."""
    folder = CACHE / ('%s-%s' % (name, EDITION))
    if not folder.exists():
        CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Built beside its place and moved there whole, so that one cut short is never taken for a good one.
        with tempfile.TemporaryDirectory(dir=CACHE, ignore_cleanup_errors=True) as draft:
            root = pathlib.Path(draft, 'root')
            _build_busybox(root) if name == BUSYBOX else _build_debian(name, root)
            root.chmod(0o755)
            root.rename(folder)
    return folder


def copy_of(name, target):
    """A root file system to write to, at `target`."""
    lab.run(['cp', '-a', root_file_system(name), target])
    return target


def _build_debian(name, root):
    variant, packages = 'minbase' if name == BOOTABLE else 'extract', PACKAGES.get(name, UNPACKED)
    done = lab.run([
        lab.program('mmdebstrap'), '--quiet', '--mode=root', '--variant=' + variant, '--include=' + packages,
        '--aptopt=Acquire::Check-Valid-Until "false"',      # a mirror, or a clock, may lag behind
        *('--dpkgopt=path-exclude=/usr/share/%s/*' % folder for folder in ('doc', 'man', 'locale')),
        name.partition('-')[0], root], check=False, timeout=BUILD_TIMEOUT)
    if done.returncode:
        lab.unavailable('mmdebstrap cannot make %s: %s' % (name, done.stdout.strip()[-300:]))
    if variant == 'extract':
        (root / 'etc/passwd').write_text(USERS)
        (root / 'etc/group').write_text(GROUPS)
    else:
        (root / 'etc/machine-id').write_text('')
    # Accounts cannot write compiled modules, and would compile the same ones at each start.
    imports = 'import logging, selectors, socket, pickle, datetime, decimal, uuid, ssl'
    lab.run(['chroot', root, 'python3', '-c', imports])


def _build_busybox(root):
    for folder in 'bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp':
        (root / folder).mkdir(parents=True)
    busybox = shutil.copy2(lab.program('busybox'), root / 'bin/busybox')
    for applet in lab.run([busybox, '--list']).stdout.split():
        if applet != 'busybox':
            (root / 'bin' / applet).symlink_to('busybox')
    (root / 'etc/passwd').write_text(USERS)
    (root / 'etc/group').write_text(GROUPS)


if __name__ == '__main__':
    # Now, so that no test has to wait for one.
    for wanted in (*PYTHONS, BOOTABLE, BUSYBOX):
        root_file_system(wanted)

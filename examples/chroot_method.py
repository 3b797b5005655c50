"""
A connection method of one's own: `chroot`, an interpreter that sees another folder as the root of all files.

It is not part of the library: a program names this module once, and uses it as it would use any other. (Only root may
change the root folder.)
"""

import os

import mitogen.method
import mitogen.utils
from mitogen.boot.dialogue import Refusal


class Method(mitogen.method.Method):
    """`chroot` of coreutils.

    :param folder: the new root.
    :param username: account there; default: root.
    :param chroot_path: the program.
    """

    name = 'chroot'

    def __init__(self, folder, username=None, chroot_path='/usr/sbin/chroot', **common):
        self.folder = mitogen.method.word('folder', folder)
        self.username = None if username is None else mitogen.method.word('username', username)
        self.chroot_path = chroot_path
        mitogen.method.Method.__init__(self, **common)

    def target(self):
        return self.folder

    def argv(self, command):
        user = ['--userspec=' + self.username] if self.username else []
        return [self.chroot_path] + user + [self.folder] + command

    def refusals(self):
        return [
            Refusal(br'cannot change root directory[^\n]*Operation not permitted', 'only root may use chroot',
                    hint='via= a context of root (sudo)'),
            Refusal(br'cannot change root directory[^\n]*', hint='the spelling of folder='),
            Refusal(br'invalid user', 'there is no such user in the folder', hint='username='),
            Refusal(br'failed to run command[^\n]*', 'there is no such interpreter in the folder', hint='python_path='),
        ]


# Once, in the program. A context that is asked by `via=` gets the name of the module from it, and the module.
mitogen.method.register('chroot', 'chroot_method')


@mitogen.utils.with_router
def main(router):
    if os.getuid() != 0:
        print('only root may change the root folder')
        return
    context = router.connect('chroot', folder='/', python_path='/usr/bin/python3')
    print(context.name, 'is process', context.call(os.getpid))


if __name__ == '__main__':
    main()

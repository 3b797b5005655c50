"""Files: a child fetches one from here, we fetch one from a child, and one is there before it is asked for."""

import hashlib
import io
import os
import tempfile

import mitogen.core
import mitogen.service
import mitogen.utils
from mitogen.service import FileService, PushFileService


@mitogen.core.takes_econtext
def fetch(path, econtext):
    """In a child: take a file of the master."""
    master, content = econtext.router.context_by_id(0), io.BytesIO()
    ok, metadata = FileService.get(master, path, content)
    return ok, metadata['size'], hashlib.sha256(content.getvalue()).hexdigest()[:16]


def pushed(path):
    """In a child: take a file that was, or will be, pushed there."""
    return mitogen.service.get_or_create_pool().get_service(PushFileService).get(path).decode()


def show_from_child(child):
    content = io.BytesIO()
    ok, metadata = FileService.get(child, '/etc/passwd', content)
    print('from a child: ', ok, metadata['owner'], oct(metadata['mode']), len(content.getvalue()) == metadata['size'])


@mitogen.utils.with_router
def main(router):
    child = router.local()
    grandchild = router.local(via=child)
    pool = mitogen.service.Pool(router, size=2)
    with tempfile.TemporaryDirectory() as folder:
        large, small = os.path.join(folder, 'large'), os.path.join(folder, 'small')
        with open(large, 'wb') as fp:
            fp.write(bytes(range(256)) * 100000)
        with open(small, 'w') as fp:
            fp.write('good morning')
        pool.get_service(FileService).register_prefix(folder)
        print('to grandchild:', *grandchild.call(fetch, large))
        show_from_child(child)
        pool.get_service(PushFileService).propagate_to(grandchild, small)
        print('pushed:       ', grandchild.call(pushed, small))


if __name__ == '__main__':
    main()

"""Large packages that nobody here wrote, imported by children that lack them."""

import pytest

import targets
import targets_imports

django = pytest.importorskip('django')
requests = pytest.importorskip('requests')


@pytest.fixture(params=['-S', 'fork', 'forget'])
def bare(request, router):
    """A child without the packages that are installed here."""
    if request.param == '-S':
        child = router.local(python_path=[targets.sys.executable, '-S'])
        assert not child.call(targets.has_of_its_own, 'django')
    elif request.param == 'fork':
        child = router.fork(via=router.local(python_path=[targets.sys.executable, '-S']))
    else:
        child = router.local()
        assert child.call(targets_imports.forget_installed) == []
    child.call(targets_imports.loaded_below, 'django')
    return child


def test_django_models_cost_at_most_two_questions(bare, asked):
    assert bare.call(targets_imports.import_by_name, 'django.db.models')
    assert bare.call(targets_imports.loaded_below, 'django') > 100
    assert len(asked) <= 2, asked


def test_requests_cost_at_most_two_questions(bare, asked):
    assert bare.call(targets_imports.import_by_name, 'requests')
    assert bare.call(targets_imports.loaded_below, 'urllib3') > 10
    # The second is idna, imported by a name that is made up at run time. The library's own, because of the
    # certificates that are read through importlib.resources, are not the package's fault.
    assert len([name for name in asked if not name.startswith('mitogen')]) <= 2, asked


def test_a_grandchild_costs_no_more(router, asked):
    child = router.local(python_path=[targets.sys.executable, '-S'])
    grandchildren = [router.local(via=child, python_path=[targets.sys.executable, '-S']) for _ in range(2)]
    for grandchild in grandchildren:
        grandchild.call(targets_imports.loaded_below, 'django')
    del asked[:]
    for grandchild in grandchildren:
        assert grandchild.call(targets_imports.import_by_name, 'django.db.models')
    assert len(asked) <= 2, asked


def test_django_works_there(bare):
    assert bare.call(targets_imports.django_query).startswith('SELECT')


def test_an_old_python_refuses_a_package_that_is_too_new_for_it(older):
    # And says why, rather than hang or crash.
    error = older.call(targets_imports.why_not, 'django.db.models')
    assert error is not None
    assert older.call(targets.echo, 1) == 1

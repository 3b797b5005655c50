"""Options of the connection plugins for Ansible, beside those of the plugins whose variables they take.

tests/hosts/test_ansible_features.py does the same with what ansible-core brings itself.
"""

import ast
import json
import pathlib
import re

import pytest

import support

PLUGINS = support.checkout() / 'ansible_collections' / 'mitogen' / 'ansible' / 'plugins' / 'connection'


def of_server(name):
    """Options of the twins for LXD and Incus, which are made alike."""
    return {'remote_addr': 'inventory_hostname ansible_host ansible_%s_host' % name,
            'remote': 'ansible_%s_remote' % name, 'executable': 'ansible_executable ansible_%s_executable' % name,
            name + '_become_method': name + '_become_method', 'remote_user': 'ansible_user',
            'project': 'ansible_%s_project' % name}


# Plugin -> (its twin, option -> variables), as documented by community.docker 4.8, containers.podman 1.18,
# community.general 11.4 and kubernetes.core 6.2.
TWINS = {
    'docker': ('community.docker.docker', {
        'remote_addr': 'inventory_hostname ansible_host ansible_docker_host',
        'remote_user': 'ansible_user ansible_docker_user', 'docker_extra_args': 'ansible_docker_extra_args',
        'container_timeout': 'ansible_docker_timeout', 'extra_env': 'ansible_docker_extra_env',
        'working_dir': 'ansible_docker_working_dir', 'privileged': 'ansible_docker_privileged'}),
    'podman': ('containers.podman.podman', {
        'remote_addr': 'inventory_hostname ansible_host ansible_podman_host', 'remote_user': 'ansible_user',
        'podman_extra_args': 'ansible_podman_extra_args', 'podman_executable': 'ansible_podman_executable'}),
    'lxc': ('community.general.lxc', {
        'remote_addr': 'inventory_hostname ansible_host ansible_lxc_host',
        'executable': 'ansible_executable ansible_lxc_executable'}),
    'lxd': ('community.general.lxd', of_server('lxd')),
    'incus': ('community.general.incus', of_server('incus')),
    'jail': ('community.general.jail', {
        'remote_addr': 'inventory_hostname ansible_host ansible_jail_host',
        'remote_user': 'ansible_user ansible_jail_user'}),
    'kubectl': ('kubernetes.core.kubectl', {
        'kubectl_pod': 'ansible_kubectl_pod', 'kubectl_container': 'ansible_kubectl_container',
        'kubectl_namespace': 'ansible_kubectl_namespace', 'kubectl_extra_args': 'ansible_kubectl_extra_args',
        'kubectl_local_env_vars': 'ansible_kubectl_local_env_vars', 'kubectl_context': 'ansible_kubectl_context',
        'kubectl_kubeconfig': 'ansible_kubectl_kubeconfig ansible_kubectl_config',
        'kubectl_host': 'ansible_kubectl_host ansible_kubectl_server',
        'kubectl_username': 'ansible_kubectl_username ansible_kubectl_user',
        'kubectl_password': 'ansible_kubectl_password',
        'kubectl_token': 'ansible_kubectl_token ansible_kubectl_api_key',
        'client_cert': 'ansible_kubectl_cert_file ansible_kubectl_client_cert',
        'client_key': 'ansible_kubectl_key_file ansible_kubectl_client_key',
        'ca_cert': 'ansible_kubectl_ssl_ca_cert ansible_kubectl_ca_cert',
        'validate_certs': 'ansible_kubectl_verify_ssl ansible_kubectl_validate_certs'}),
}

NAMES = sorted(path.stem for path in PLUGINS.glob('*.py'))


def documentation(name):
    """The text that ansible-doc reads, which has to be a literal, and of which workers read the options as JSON."""
    tree = ast.parse((PLUGINS / (name + '.py')).read_text())
    return next(ast.literal_eval(node.value) for node in tree.body
                if isinstance(node, ast.Assign) and node.targets[0].id == 'DOCUMENTATION')


def documented_options(name):
    return json.loads(documentation(name))['options']


def variables_of(name):
    return {variable['name'] for option in documented_options(name).values() for variable in option.get('vars', ())}


def explained():
    """Options of which docs/ansible.rst says that they do nothing."""
    page = (support.checkout() / 'docs' / 'ansible.rst').read_text()
    section = page.partition('\nOptions that do nothing\n---')[2].partition('\n---')[0]
    return set(re.findall('``([a-z_0-9]+)``', section))


@pytest.mark.parametrize('name', TWINS)
def test_every_variable_of_the_twin_is_taken_or_explained(name):
    twin, options = TWINS[name]
    assert twin in documentation(name)
    missing = {option for option, variables in options.items() if not set(variables.split()) <= variables_of(name)}
    assert missing <= explained()


@pytest.mark.parametrize('name', NAMES)
def test_options_of_ours_are_everywhere(name):
    assert variables_of(name) >= {'mitogen_via', 'mitogen_python', 'mitogen_persist', 'mitogen_pipelining'}


@pytest.mark.parametrize('name', NAMES)
def test_options_that_a_plugin_asks_for_are_documented(name):
    code = (PLUGINS / (name + '.py')).read_text().replace(documentation(name), '')
    asked = set(re.findall(r"get_option\('(\w+)'", code))
    assert asked <= set(documented_options(name)), pathlib.Path(name)


@pytest.mark.parametrize('name', NAMES)
def test_no_default_is_a_template(name):
    """Since 2.19 Ansible fills in those that it has read itself, and only those."""
    assert not [option for option in documented_options(name).values() if '{{' in str(option.get('default'))]

"""Connection plugin `mitogen.ansible.docker`."""

DOCUMENTATION = '''
name: docker
short_description: run tasks in a container of Docker, with warm interpreters
description:
  - Connects to a container of Docker once for a whole playbook.
  - Modules run as forks of an interpreter that stays inside for as long.
  - For hosts of C(community.docker.docker), with the same names for the variables that it takes.
author: The mitogen authors
version_added: "1.0"
options:
  remote_addr:
    description: Name of what to connect to.
    default: inventory_hostname
    type: string
    vars:
      - name: inventory_hostname
      - name: ansible_host
  remote_user:
    description: User inside; by default that of the container.
    type: string
    vars:
      - name: ansible_user
      - name: ansible_docker_user
    keyword:
      - name: remote_user
  docker_path:
    description: The program.
    default: docker
    type: string
    vars:
      - name: ansible_docker_path
  mitogen_via:
    description: Host of the inventory, or C(user@host), through which to go.
    type: string
    vars:
      - name: mitogen_via
  pipelining:
    description: Modules never need files of their own on the target. Turned off, they get some all the same.
    default: true
    type: boolean
    vars:
      - name: mitogen_pipelining
  mitogen_python:
    description:
      - Interpreter to begin with.
      - By default the one that modules use; where that is not known yet, or too old, the first C(python3) found.
    type: string
    vars:
      - name: mitogen_python
  module_python:
    description: Interpreter of the modules.
    type: string
    vars:
      - name: ansible_python_interpreter
'''

from mitogen.ansible import connection  # noqa: E402


class Connection(connection.Container):         # type: ignore[misc]
    """A container of Docker."""

    method = 'docker'
    names = {'remote_addr': 'container', 'remote_user': 'username', 'docker_path': 'docker_path'}

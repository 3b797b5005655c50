"""
What a worker makes of become plugins: the command line that one builds, around a marker.

Ring 2, needs ansible-core. What is done with it is in mitogen.ansible.become, and runs elsewhere.
"""

from typing import Any

from ansible.errors import AnsibleError

from mitogen.ansible import wrapping
from mitogen.ansible.wire import plain

#: Stands for what plugins draw by lot each time, where the same options have to mean the same connection.
SAME = 'mitogen'


def remember_commands(plugin: Any) -> None:
    """Have a become plugin, this object of it alone, remember what it was asked to wrap, and into what."""
    build = plugin.build_become_command

    def build_become_command(command: str, shell: Any) -> Any:
        wrapped = build(command, shell)
        plugin.mitogen_wrapped = command, wrapped, shell
        return wrapped
    plugin.build_become_command = build_become_command
    plugin.mitogen_build, plugin.mitogen_wrapped = build, None


def options(plugin: Any, build: Any, shell: Any, program: str) -> 'dict[str, Any]':
    """Return options of mitogen.ansible.become.

    :param build: what builds the plugin's command; shell: the shell plugin; program: the shell that runs it.
    :raises AnsibleError: the plugin does not quote what it wraps.
    """
    wrapped = build(wrapping.MARKER, shell)
    if not wrapping.levels(wrapped):
        raise AnsibleError('the become plugin %s does not quote what it wraps in a known way' % plugin.name)
    prompt = plugin.prompt if isinstance(plugin.prompt, str) else None
    found = {'plugin': plugin.name, 'username': plugin.get_option('become_user') or '', 'shell': program or '/bin/sh',
             'wrapped': wrapped, 'password': plugin.get_option('become_pass'), 'prompt': prompt or None,
             'fail': list(plugin.fail), 'missing': list(plugin.missing), 'id': getattr(plugin, '_id', '')}
    return plain(found)         # type: ignore[no-any-return]


def of_host(variables: 'dict[str, Any]') -> 'dict[str, Any] | None':
    """Return what options() does, for a host that others are reached through; None: its login will do.

    :param variables: those of the host, `ansible_become` and the like among them.
    """
    import ansible.constants as C
    from ansible.module_utils.parsing.convert_bool import boolean
    from ansible.plugins.loader import become_loader, get_shell_plugin
    if not boolean(variables.get('ansible_become', False), strict=False):
        return None
    name = str(variables.get('ansible_become_method') or C.DEFAULT_BECOME_METHOD)
    plugin = become_loader.get(name)
    if plugin is None:
        raise AnsibleError('mitogen_via: there is no become plugin %s' % name)
    known = C.config.get_plugin_vars('become', plugin._load_name)
    plugin.set_options(var_options={key: variables[key] for key in known if key in variables})
    found = options(plugin, plugin.build_become_command, get_shell_plugin('sh', '/bin/sh'), '/bin/sh')
    number = found['id']
    if number:
        found.update(wrapped=found['wrapped'].replace(number, SAME), id=SAME,
                     prompt=found['prompt'] and found['prompt'].replace(number, SAME))
    return found

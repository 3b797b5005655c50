"""Which file of the library is in which ring. Tests hold the files to it."""

#: Ring 0 is sent when a child starts; ring 1 is fetched by children that need it; ring 2 never leaves the master.
#: A new file enters this table; where its docstring says a ring, it must be this one.
RING = {
    **dict.fromkeys(['__init__.py', 'core.py'], 0),
    **dict.fromkeys([
        'parent.py', 'broker.py', 'routes.py', 'call.py', 'connect.py', 'debug.py', 'descriptors.py', 'detach.py',
        'method.py', 'logs.py',
        'boot/__init__.py', 'boot/first_stage.py', 'boot/payload.py', 'boot/dialogue.py', 'boot/prompts.py',
        'boot/process.py', 'boot/connection.py', 'boot/start.py', 'modules/__init__.py', 'modules/loader.py',
        'modules/relay.py', 'modules/resources.py', 'commands/__init__.py', 'commands/script.py', 'commands/target.py',
        'local.py', 'fork.py', 'ssh.py', 'sudo.py', 'su.py', 'doas.py', 'container.py', 'docker.py', 'podman.py',
        'buildah.py', 'kubectl.py', 'lxc.py', 'lxd.py', 'incus.py', 'jail.py', 'machinectl.py', 'setns.py',
        'utils.py', 'untrusted.py', 'select.py', 'service.py', 'files.py', 'flow.py', 'push.py', 'peer.py', 'unix.py',
        'waiting.py', 'pressure.py', 'fakessh.py', 'fanout.py', 'fakessh_args.py', 'fakessh_client.py',
        'fakessh_target.py', 'ansible/__init__.py', 'ansible/become.py', 'ansible/ease.py', 'ansible/runner.py',
        'ansible/ssh.py', 'ansible/target.py', 'ansible/template.py', 'ansible/wrapping.py'], 1),
    **dict.fromkeys([
        'master.py', 'minify.py', 'modules/finder.py', 'modules/listing.py', 'modules/scan.py', 'modules/own.py',
        'modules/shorten.py', 'modules/library.py', 'modules/responder.py', 'modules/main_guard.py', '__main__.py',
        'cli.py', 'testing.py', 'memory.py', 'aio.py', 'executor.py', 'commands/call.py', 'commands/copy.py',
        'commands/fakessh.py',
        'commands/fleet.py', 'commands/run.py', 'commands/tree.py', 'ansible/accounts.py', 'ansible/ahead.py',
        'ansible/ansiballz.py', 'ansible/attach.py', 'ansible/broker.py', 'ansible/becoming.py', 'ansible/commands.py',
        'ansible/connection.py', 'ansible/execute.py', 'ansible/failures.py', 'ansible/packed.py', 'ansible/packer.py',
        'ansible/tree.py', 'ansible/wire.py', 'ansible/worker.py'], 2),
}

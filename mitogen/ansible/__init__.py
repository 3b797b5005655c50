"""
Ansible over the connections of this library. Ring 1, empty: what is in the package says on which side it runs.

A worker of Ansible lives for one task. What lasts, connections and warm interpreters, belongs to a process of its own:

    worker (connection.py, attach.py) -- socket, wire.py --> broker process (broker.py, execute.py, tree.py)
    broker process -- messages of this library --> interpreter of an account (target.py, template.py)
    interpreter -- socket, template.py --> template, whose forks are modules (runner.py, ease.py)

In the broker process worker.py is who asks, tree.py leads to accounts.py, and failures.py is what cannot be done.
commands.py and ansiballz.py, both pure, decide what a command of Ansible means.
"""

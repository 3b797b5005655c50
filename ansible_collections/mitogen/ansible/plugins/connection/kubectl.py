"""Connection plugin `mitogen.ansible.kubectl`."""

DOCUMENTATION = '''
{"name": "kubectl",
 "short_description": "run tasks in a pod of Kubernetes, with warm interpreters",
 "description": [
  "Connects to a pod of Kubernetes once for a whole playbook.",
  "Modules run as forks of an interpreter that stays inside for as long.",
  "For hosts of C(kubernetes.core.kubectl), with the same names for the variables that it takes."],
 "author": "The mitogen authors",
 "version_added": "1.0",
 "options": {
  "remote_addr": {"description": "Name of what to connect to.",
   "default": "inventory_hostname", "type": "string",
   "vars": [{"name": "inventory_hostname"}, {"name": "ansible_host"}, {"name": "ansible_kubectl_pod"}]},
  "kubectl_path": {"description": "The program.",
   "default": "kubectl", "type": "string", "vars": [{"name": "ansible_kubectl_path"}]},
  "kubectl_container": {"description": "Which container of the pod, if it has several.",
   "type": "string", "env": [{"name": "K8S_AUTH_CONTAINER"}], "vars": [{"name": "ansible_kubectl_container"}]},
  "kubectl_namespace": {"description": "Namespace of the pod.",
   "type": "string", "env": [{"name": "K8S_AUTH_NAMESPACE"}], "vars": [{"name": "ansible_kubectl_namespace"}]},
  "kubectl_extra_args": {"description": "More arguments for the program.",
   "default": "", "type": "string", "env": [{"name": "K8S_AUTH_EXTRA_ARGS"}],
   "vars": [{"name": "ansible_kubectl_extra_args"}]},
  "kubectl_kubeconfig": {"description": "Path of the configuration.",
   "type": "string", "env": [{"name": "K8S_AUTH_KUBECONFIG"}],
   "vars": [{"name": "ansible_kubectl_kubeconfig"}, {"name": "ansible_kubectl_config"}]},
  "kubectl_context": {"description": "Which context of the configuration.",
   "type": "string", "env": [{"name": "K8S_AUTH_CONTEXT"}], "vars": [{"name": "ansible_kubectl_context"}]},
  "kubectl_host": {"description": "Address of the cluster.",
   "type": "string", "env": [{"name": "K8S_AUTH_HOST"}, {"name": "K8S_AUTH_SERVER"}],
   "vars": [{"name": "ansible_kubectl_host"}, {"name": "ansible_kubectl_server"}]},
  "kubectl_username": {"description": "Name to log in with.",
   "type": "string", "env": [{"name": "K8S_AUTH_USERNAME"}],
   "vars": [{"name": "ansible_kubectl_username"}, {"name": "ansible_kubectl_user"}]},
  "client_cert": {"description": "Path of a certificate to log in with.",
   "type": "string", "env": [{"name": "K8S_AUTH_CERT_FILE"}],
   "vars": [{"name": "ansible_kubectl_cert_file"}, {"name": "ansible_kubectl_client_cert"}]},
  "client_key": {"description": "Path of the key of that certificate.",
   "type": "string", "env": [{"name": "K8S_AUTH_KEY_FILE"}],
   "vars": [{"name": "ansible_kubectl_key_file"}, {"name": "ansible_kubectl_client_key"}]},
  "ca_cert": {"description": "Path of the certificate that the cluster shows.",
   "type": "string", "env": [{"name": "K8S_AUTH_SSL_CA_CERT"}],
   "vars": [{"name": "ansible_kubectl_ssl_ca_cert"}, {"name": "ansible_kubectl_ca_cert"}]},
  "validate_certs": {"description": "Whether to check the certificate of the cluster.",
   "default": true, "type": "boolean", "env": [{"name": "K8S_AUTH_VERIFY_SSL"}],
   "vars": [{"name": "ansible_kubectl_verify_ssl"}, {"name": "ansible_kubectl_validate_certs"}]},
  "mitogen_via": {"description": [
    "Host of the inventory, or C(user@host), through which to go.",
    "The way goes on as another user if C(ansible_become) is among that host's variables."],
   "type": "string", "vars": [{"name": "mitogen_via"}]},
  "pipelining": {"description": "Modules need no files of their own on the target. Turned off, they get some anyway.",
   "default": true, "type": "boolean", "vars": [{"name": "mitogen_pipelining"}]},
  "mitogen_python": {"description": [
    "Interpreter to begin with.",
    "By default the one that modules use; where that is not known yet, or too old, the first C(python3) found."],
   "type": "string", "vars": [{"name": "mitogen_python"}]},
  "mitogen_persist": {"description": [
    "Seconds for which connections outlive the playbook, for the next one to use.",
    "Until then, whoever can run programs as you can use them, and what you have become there, without a password."],
   "default": 0, "type": "integer", "vars": [{"name": "mitogen_persist"}]},
  "module_python": {"description": "Interpreter of the modules.",
   "type": "string", "vars": [{"name": "ansible_python_interpreter"}]}}}
'''

import shlex  # noqa: E402

from mitogen.ansible import connection  # noqa: E402

connection.tell_options(__name__, DOCUMENTATION)


class Connection(connection.Container):         # type: ignore[misc]
    """A pod of Kubernetes."""

    method = 'kubectl'
    names = {'remote_addr': 'pod', 'kubectl_path': 'kubectl_path'}

    #: Option -> argument of the program.
    arguments = {'kubectl_container': '--container', 'kubectl_namespace': '--namespace',
                 'kubectl_kubeconfig': '--kubeconfig', 'kubectl_context': '--context', 'kubectl_host': '--server',
                 'kubectl_username': '--username', 'client_cert': '--client-certificate', 'client_key': '--client-key',
                 'ca_cert': '--certificate-authority'}

    def more(self):                             # type: ignore[no-untyped-def]
        """More arguments for the program."""
        words = shlex.split(self.get_option('kubectl_extra_args') or '')
        for name, argument in self.arguments.items():
            if self.get_option(name):
                words += [argument, self.get_option(name)]
        words += [] if self.get_option('validate_certs') else ['--insecure-skip-tls-verify=true']
        return {'kubectl_args': words}

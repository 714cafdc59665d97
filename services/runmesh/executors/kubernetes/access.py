"""Which cluster a worker serves, and as whom: a kubeconfig's context, or the service account of its own pod.

``KUBECONFIG`` names the file (several as kubectl has them), ``RUNMESH_K8S_CONTEXT`` the context if it isn't the current
one. Without it, a pod uses its service account, anybody else ``~/.kube/config``. A worker serves one cluster: several
clusters are several pools.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

from runmesh.errors import Invalid, Problem

CONTEXT: Final = "RUNMESH_K8S_CONTEXT"
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Access:
    """Where the credentials are. They are read on entering, and again whenever the cluster doesn't know them."""

    kubeconfig: str | None
    """None: those of the pod."""
    context: str | None
    environment: Mapping[str, str]
    account: Path = _ACCOUNT
    """Where a pod finds its service account: token, namespace, and the authority that signs for the API server."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Choose. Raises `Invalid` if there is nothing to choose from."""
        kubeconfig, context = environment.get("KUBECONFIG"), environment.get(CONTEXT)
        in_pod = bool(environment.get("KUBERNETES_SERVICE_HOST"))
        if not kubeconfig and not in_pod:
            kubeconfig = str(Path(environment.get("HOME", "~")).expanduser() / ".kube" / "config")
        if kubeconfig and not any(Path(path).expanduser().is_file() for path in kubeconfig.split(":") if path):
            hint = "run the worker in a pod, or let KUBECONFIG name the file"
            raise Invalid(Problem("KUBECONFIG", f"there is no kubeconfig {kubeconfig}", hint))
        return cls(kubeconfig or None, context, environment)

    async def load(self, configuration: Configuration) -> str | None:
        """Read the credentials (small files, or a program that the kubeconfig names) into the client's configuration.

        Return the namespace that goes with them. Raises `Invalid`.
        """
        try:
            if self.kubeconfig is None:
                return self._of_pod(configuration)
            loader = await load_kube_config(
                self.kubeconfig, self.context, client_configuration=configuration, persist_config=False
            )
        except ConfigException as error:
            where = self.kubeconfig or "the pod's service account"
            raise Invalid(Problem("KUBECONFIG", f"{where}: {error}", f"{CONTEXT} chooses a context")) from error
        context = (loader.current_context or {}).get("context") or {}
        namespace: str | None = context.get("namespace")
        return namespace

    def _of_pod(self, configuration: Configuration) -> str | None:
        load_incluster_config(  # type: ignore[no-untyped-call]
            client_configuration=configuration,
            environ=self.environment,
            token_filename=str(self.account / "token"),
            cert_filename=str(self.account / "ca.crt"),
        )
        namespace = self.account / "namespace"
        return namespace.read_text().strip() if namespace.is_file() else None

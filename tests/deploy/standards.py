"""The Pod Security Standards, as far as fields of a Pod can break them: what an admission controller would say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

_HOST = ("hostNetwork", "hostPID", "hostIPC")
# Those that "baseline" lets a container add.
_CAPABILITIES = frozenset(
    """
    AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT
    """.split()
)
_VOLUMES = frozenset(
    "configMap csi downwardAPI emptyDir ephemeral image persistentVolumeClaim projected secret".split()
)
_SYSCTLS = frozenset(
    """
    kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports
    net.ipv4.ip_unprivileged_port_start net.ipv4.ping_group_range net.ipv4.tcp_fin_timeout
    net.ipv4.tcp_keepalive_intvl net.ipv4.tcp_keepalive_probes net.ipv4.tcp_keepalive_time net.ipv4.tcp_syncookies
    """.split()
)
_SECCOMP = ("RuntimeDefault", "Localhost")


def containers(spec: Object) -> list[Object]:
    """All of a Pod's, in the order of their start."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def baseline(spec: Object) -> list[str]:
    """The rules that this Pod breaks, each after the container that does."""
    pod = [f"Pod: {name}" for name in _HOST if spec.get(name)]
    pod += [f"Pod: hostPath {volume['name']}" for volume in spec.get("volumes", []) if "hostPath" in volume]
    sysctls = {each["name"] for each in spec.get("securityContext", {}).get("sysctls", [])}
    pod += [f"Pod: sysctl {name}" for name in sorted(sysctls - _SYSCTLS)]
    return pod + [
        f"{container['name']}: {rule}"
        for container in containers(spec)
        for rule in _baseline(container, _context(spec, container))
    ]


def restricted(spec: Object) -> list[str]:
    """The same for what "restricted" adds to that."""
    volumes = (
        f"Pod: volume {v['name']}" for v in spec.get("volumes", []) if not v.keys() - {"name"} <= _VOLUMES
    )
    # Even if every container says another.
    root = ["Pod: runAsUser"] if spec.get("securityContext", {}).get("runAsUser") == 0 else []
    return [*volumes, *root] + [
        f"{container['name']}: {rule}"
        for container in containers(spec)
        for rule in _restricted(_context(spec, container))
    ]


def _context(spec: Object, container: Object) -> Object:
    """What counts for a container: the Pod's, unless it says otherwise itself."""
    return {**spec.get("securityContext", {}), **container.get("securityContext", {})}


def _added(context: Object) -> set[str]:
    return set(context.get("capabilities", {}).get("add", []))


def _baseline(container: Object, context: Object) -> Iterator[str]:
    if context.get("privileged"):
        yield "privileged"
    if _added(context) - _CAPABILITIES:
        yield "capabilities.add"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"
    if context.get("procMount", "Default") != "Default":
        yield "procMount"
    for name in ("seccompProfile", "appArmorProfile"):
        if context.get(name, {}).get("type") == "Unconfined":
            yield name
    if "seLinuxOptions" in context:
        yield "seLinuxOptions"
    handlers = [container.get(probe, {}) for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    if any(handler.get("httpGet", {}).get("host") for handler in handlers):
        yield "host of a probe"


def _restricted(context: Object) -> Iterator[str]:
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if context.get("runAsUser") == 0:
        yield "runAsUser"
    if context.get("seccompProfile", {}).get("type") not in _SECCOMP:
        yield "seccompProfile"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "capabilities.drop"
    if _added(context) - {"NET_BIND_SERVICE"}:
        yield "capabilities.add"

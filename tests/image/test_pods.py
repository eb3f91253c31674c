"""The Pods of deploy/kubernetes and of the chart, run: what the app hands in arrives, whatever is stopped when.

The provider that the manifests name is a sink, and podman is the node. What is changed of them: tests/image/manifests.py.

Podman knows no native sidecars. It runs them as ordinary containers, and it is the harness (tests/image/pods.py) that stops
the app, and then the relay: what is proven here is that nothing is lost when a kubelet does so. That the manifests make it do
so is tests/deploy/test_sidecar.py's to hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from docker.models.networks import Network

from tests.deploy.kubernetes import Object
from tests.deploy.sidecar import JOB, NATIVE, PLAIN, RESTRICTED
from tests.image import manifests
from tests.image.engine import Engine
from tests.image.manifests import PASSWORD, PORT, PROVIDER, USER, Manifest
from tests.image.pods import Node, Pod
from tests.image.relay import someone
from tests.image.sink import Sink
from tests.image.test_hardening import _BITS
from tests.image.tls import Certificates

COUNT, LAST = 20, 5
# Where cgroups are of version 1, or 2.
MEMORY = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max")
MANIFESTS: dict[str, Callable[[], Manifest]] = {
    "native": lambda: manifests.of_a_file(NATIVE),
    "plain": lambda: manifests.of_a_file(PLAIN),
    "job": lambda: manifests.of_a_file(JOB),
    "native_with_claim": manifests.of_a_file_with_a_claim,
    "chart": manifests.of_the_chart,
    "open_chart": lambda: manifests.of_the_chart(settings=manifests.OF_ALL_IN_THE_NETWORK),
    "restricted": lambda: manifests.of_a_file(RESTRICTED),
    "restricted_chart": lambda: manifests.of_the_chart(runAsUser=10025),
    "openshift_chart": lambda: manifests.on_openshift(manifests.of_the_chart(runAsUser="assigned")),
}

Play = Callable[..., Pod]


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("trusted"), (PROVIDER,))


@pytest.fixture(scope="module")
def node(
    docker: Engine, network: Network, trusted: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    started = Node(docker, network, tmp_path_factory.mktemp("node"), trusted)
    yield started
    started.remove()


@pytest.fixture(scope="module")
def _provider(docker: Engine, network: Network, trusted: Certificates) -> Iterator[Sink]:
    started = Sink(docker, network, trusted, PROVIDER, port=PORT)
    yield started
    docker.remove(started.container)


@pytest.fixture
def provider(_provider: Sink) -> Iterator[Sink]:
    """It takes mail from the manifests' login alone."""
    _provider.behave(require_tls=True, require_auth=True, user=USER, password=PASSWORD)
    yield _provider
    _provider.restore()


@pytest.fixture
def play(node: Node, provider: Sink) -> Iterator[Play]:
    """Starts a Pod whose app sends `count` mails at once, and `last` more when it is stopped."""
    played: list[Pod] = []

    def one(name: str, to: str, *, count: int = COUNT, last: int = LAST) -> Pod:
        played.append(node.play(MANIFESTS[name]().running(to, count=count, last=last)))
        return played[-1]

    yield one
    for pod in played:
        pod.remove()


def arrived(provider: Sink, to: str) -> Counter[str]:
    """How often each Message-ID did."""
    return Counter(mail.header("Message-ID") for mail in provider.received(to))


@pytest.mark.parametrize("name", ["native", "chart", "restricted", "openshift_chart"])
def test_what_the_app_hands_in_arrives_with_the_login_of_the_secret(
    play: Play, provider: Sink, name: str
) -> None:
    pod = play(name, to := someone(), count=1, last=0)
    [mail] = provider.mail(to)
    assert [mail.header("Message-ID")] == pod.accepted()
    assert mail.tls
    assert set(provider.logins()) == {(USER, PASSWORD)}
    assert_rights(pod, MANIFESTS[name]().relay)


def assert_rights(pod: Pod, relay: Object) -> None:
    """Those that the manifest gives, and no others."""
    given = relay["securityContext"]
    rights = f"{sum(1 << _BITS[name] for name in given['capabilities'].get('add', [])):016x}"
    told = pod.exec("grep", "-E", "^(CapEff|CapBnd|NoNewPrivs|Seccomp):", "/proc/1/status").output.split()
    assert told == ["CapEff:", rights, "CapBnd:", rights, "NoNewPrivs:", "1", "Seccomp:", "2"]
    if uid := given.get("runAsUser"):
        users = pod.exec("sh", "-c", "cat /proc/[0-9]*/status | grep ^Uid: | sort -u").output.split()
        assert users == ["Uid:", *[str(uid)] * 4], "all programs are this user's"
    limit = f"{int(relay['resources']['limits']['memory'].removesuffix('Mi')) << 20}\n"
    assert pod.exec("sh", "-c", f"cat {' '.join(MEMORY)} 2>/dev/null").output == limit
    assert pod.exec("touch", "/etc/anything").output.strip().endswith("Read-only file system")


@pytest.mark.flaky(rerun_except="^AssertionError")
@pytest.mark.parametrize("name", ["native", "plain", "job", "chart", "restricted"])
def test_a_stop_delivers_what_waits_and_the_last_mails_of_the_app(
    play: Play, provider: Sink, name: str
) -> None:
    provider.behave(hang=["message"])
    pod = play(name, to := someone())
    pod.wait_for(COUNT)
    pod.begin_stop()
    pod.logged("delivering what is queued")
    assert not provider.received(to)
    provider.behave(hang=[])
    assert pod.exit_codes() == (0, 0)
    assert "the spool is empty" in pod.logs()
    assert arrived(provider, to) == Counter(pod.wait_for(COUNT + LAST))


@pytest.mark.flaky(rerun_except="^AssertionError")
def test_what_waits_when_the_relays_container_is_killed_goes_out_when_it_runs_again(
    play: Play, provider: Sink
) -> None:
    """As a kubelet does after a crash, or too much memory: the Pod stays, and its emptyDir with it."""
    provider.behave(drop=["connect"])
    pod = play("native", to := someone(), last=0)
    accepted = pod.wait_for(COUNT)
    pod.kill_relay()
    provider.behave(drop=[])
    assert not provider.received(to)
    pod.start_relay()
    provider.mail(to, count=COUNT)
    assert pod.logs().count("daemon started") == 2
    assert arrived(provider, to) == Counter(accepted)


@pytest.mark.flaky(rerun_except="^AssertionError")
@pytest.mark.parametrize("name", ["native_with_claim", "chart", "restricted_chart", "openshift_chart"])
def test_what_cannot_go_out_stays_in_the_claim_and_goes_out_with_the_next_pod(
    play: Play, provider: Sink, name: str
) -> None:
    provider.behave(drop=["connect"])
    first = play(name, to := someone())
    first.wait_for(COUNT)
    first.begin_stop()
    assert first.exit_codes() == (0, 0)
    accepted = first.wait_for(COUNT + LAST)
    assert f"0 delivered, {len(accepted)} stay in the spool for the next start" in first.logs()
    first.remove(claims=False)
    provider.behave(drop=[])
    play(name, someone(), count=0, last=0)
    provider.mail(to, count=len(accepted))
    assert arrived(provider, to) == Counter(accepted)


def test_helm_test_sends_a_mail_through_the_charts_relay(play: Play, node: Node, provider: Sink) -> None:
    """Its Pod runs as it is rendered, but for the Service, of which podman has none."""
    relay = play("open_chart", someone(), count=1, last=0)
    relay.wait_for(1)
    ended = node.run(manifests.first_mail(to := someone(), server=relay.address()))
    assert ended.status == 0, ended.log
    assert ended.log.endswith(f"has taken a mail for {to}\n")
    assert ended.ran_as == "65534:65534 true []"
    assert [mail.header("Subject") for mail in provider.mail(to)] == ["helm test: the relay takes mail"]

"""Settings and the machine become decisions: ordered lists that answer an auditor's questions.

Who may send, through which door, to where, as whom, over which TLS. Contradictions between settings and open
relays are refused by `rules`. Everything is a pure function; templates print what stands in Policy and decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from entrypoint.config.host import Host
from entrypoint.config.parsers import simple
from entrypoint.config.passthrough import services
from entrypoint.config.policy import (
    certificates,
    doors,
    faults,
    logins,
    memory,
    restrictions,
    routes,
    trust,
    upstreams,
)
from entrypoint.config.policy.doors import Door
from entrypoint.config.policy.memory import Room
from entrypoint.config.policy.restrictions import Restrictions
from entrypoint.config.policy.upstreams import Credentials, Way
from entrypoint.config.settings import Settings
from entrypoint.config.values import Address, Listener, Network, Relayhost

LOGINS_SOCKETS = "/run/postern/logins"
_LEAST_FREE = 16 * 1024 * 1024


@dataclass(frozen=True)
class Policy:
    """The decisions. Lists are in the order in which Postfix applies them."""

    hostname: str
    inet_protocols: str
    listeners: tuple[Listener, ...]
    doors: list[Door]
    trusted: tuple[Network, ...]
    distrusted: tuple[Address, ...]
    restrictions: Mapping[str, Restrictions]
    """By profile."""
    way: Way
    """For mail of everybody."""
    ways: list[Way]
    """For mail of some senders."""
    tls_level: str
    host_lookup: str
    ca_pem: str | None
    settings: Settings
    parameters: Mapping[str, str]
    services: Mapping[str, str]
    memory: int | None
    """Bytes that the container may use."""
    uid: int
    """The user that everything runs as; 0: root, and each program as the user it should."""

    @property
    def mynetworks(self) -> list[str]:
        """For main.cf; an exclusion counts only before the network that it is taken from."""
        return [f"!{trust.pattern(a)}" for a in self.distrusted] + [trust.pattern(n) for n in self.trusted]

    @property
    def profile_restrictions(self) -> list[tuple[str, list[str]]]:
        """Those of the profiles that some listener has, as parameters of main.cf."""
        used = {
            "submission" if listener.profile == "submissions" else listener.profile
            for listener in self.listeners
        }
        return list(restrictions.shown({name: r for name, r in self.restrictions.items() if name in used}))

    def client_restrictions(self, drain: str) -> list[str]:
        """`drain` is the table that refuses everybody during a stop."""
        return restrictions.client(self.settings, drain)

    def own_services(self, drain: str) -> list[str]:
        """The user's lines of master.cf; client restrictions of their own come after that refusal, too."""
        refusal = restrictions.refusal(drain)
        return [
            services.preceded(line, "smtpd_client_restrictions", refusal) for line in self.services.values()
        ]

    @property
    def drain_seconds(self) -> int:
        """How long a stop may take."""
        return simple.seconds(self.settings.drain_timeout)

    @cached_property
    def tables(self) -> dict[str, dict[str, str]]:
        """Lookup tables without secrets, by name."""
        found = routes.tables(self.settings)
        if exceptions := upstreams.exceptions(self.settings):
            found["upstream_tls"] = exceptions
        if self.ways:
            found["upstream_senders"] = {
                sender: f"{way.service}:{way.nexthop}" for way in self.ways for sender in way.senders
            }
        return found

    @cached_property
    def password_tables(self) -> dict[str, dict[str, str]]:
        """Lookup tables of secrets, by name."""
        found: dict[str, Mapping[str, str]] = {"sasl_passwd": self.way.passwords}
        for way in self.ways:
            found[f"{way.service}_passwd"] = way.passwords
        if self.settings.certificates:
            found["sni"] = certificates.sni(self.settings, self.hostname)
        return {name: dict(entries) for name, entries in found.items() if entries}

    @property
    def credentials(self) -> Credentials | None:
        return upstreams.login(self.way)

    @property
    def logs_in(self) -> bool:
        """Whether any upstream gets a password."""
        return any(way.passwords for way in (self.way, *self.ways))

    def way_of(self, sender: str) -> Way:
        """As Postfix chooses it: by the address, by its domain, else that of everybody."""
        address = sender.lower()
        keys = (address, "@" + address.rpartition("@")[2])
        return next((way for key in keys for way in self.ways if key in way.senders), self.way)

    @property
    def relayhost(self) -> Relayhost | None:
        """The first of the upstreams for everybody."""
        return self.way.upstreams[0].relayhost if self.way.upstreams else None

    @property
    def implicit_tls(self) -> bool:
        return self.way.implicit_tls

    @property
    def way_levels(self) -> dict[str, str]:
        """The TLS level of each way for some senders, by its service."""
        return {way.service: upstreams.level(way.upstreams[0], self.settings) for way in self.ways}

    @property
    def smtps_level(self) -> str:
        """Of the transport smtps, which is TLS in any case."""
        return self.tls_level if self.tls_level in ("encrypt", "verify", "secure") else "encrypt"

    @cached_property
    def room(self) -> Room | None:
        """What fits into that memory; None where it is no question."""
        return memory.room(
            self.memory,
            listeners=sum(door.program == "smtpd" for door in self.doors),
            ways=1 + len(self.ways) + bool(self.settings.relay_domains),
            tls=self.needs_certificate,
            logins=bool(self.logins_backend),
        )

    @property
    def processes(self) -> str:
        """The most of one kind, for master.cf; "-" is default_process_limit, Postfix's or the user's.

        That itself stays as it is: it is also how many may wait in front of each program before they are turned away.
        """
        if self.room is None or "default_process_limit" in self.parameters:
            return "-"
        return str(self.room.processes)

    @property
    def probe_source(self) -> str:
        return restrictions.PROBE_SOURCE

    @property
    def queue_minfree(self) -> int:
        """Bytes: half as much again as the largest message, as smtpd(8) demands, and some for thousands of deferrals."""
        return max(_LEAST_FREE, (self.settings.message_size_limit * 3 + 1) // 2)

    @property
    def logins_backend(self) -> str:
        return logins.backend(self.settings)

    @property
    def needs_certificate(self) -> bool:
        return certificates.needed(self.settings, self.listeners)

    @property
    def offers_tls(self) -> str:
        """smtpd_tls_security_level of the relay listeners."""
        return certificates.level(self.settings)

    @property
    def alias_maps(self) -> list[str]:
        """Maps of virtual_alias_maps that are written in main.cf itself."""
        return list(filter(None, [routes.postmaster(self.settings, self.hostname)]))

    @property
    def sender_login_maps(self) -> list[str]:
        """Maps of smtpd_sender_login_maps beside the table."""
        query = self.settings.sasl_sql_senders_query
        return [f"socketmap:unix:{LOGINS_SOCKETS}/maps:senders"] if query else []

    @property
    def unowned_senders(self) -> str:
        """A pattern of regexp_table(5): the addresses that only those may send as who may send as anything."""
        return routes.unowned_pattern(self.tables.get("sender_logins", {}))

    @cached_property
    def status_filter(self) -> str:
        return faults.status_filter(self.settings)

    @property
    def status_filter_of_servers(self) -> str:
        """The user's own, if there is one: it is for all deliveries."""
        return self.parameters.get("smtp_delivery_status_filter") or faults.status_filter_of_servers()

    @property
    def watched(self) -> list[str]:
        """Files and directories whose changes take effect while the relay runs; "daily" for what the calendar changes."""
        own = self.needs_certificate and certificates.given(self.settings, self.hostname) is None
        return [*dict.fromkeys(self.settings.sources), *(["daily"] if own else [])]


def decide(settings: Settings, host: Host) -> Policy:
    """The one answer to every question; the settings have passed `rules.check`."""
    level = upstreams.tls_level(settings)
    trusted = settings.mynetworks or trust.trusted_by_default(host)
    distrusted = trust.distrusted(settings, host, trusted)
    hostname = settings.myhostname or host.name
    return Policy(
        hostname=hostname,
        inet_protocols="all" if host.ipv6 else "ipv4",
        listeners=doors.opened(settings),
        doors=doors.doors(settings),
        trusted=trusted,
        distrusted=distrusted,
        restrictions=restrictions.of_profiles(settings, distrusted, hostname),
        way=upstreams.everybodys(settings),
        ways=upstreams.senders(settings),
        tls_level=level,
        # DANE needs answers that DNS itself has signed; else /etc/hosts and search lists count too, as everywhere else.
        host_lookup="dns" if level == "dane" else "dns, native",
        ca_pem=settings.relayhost_ca_file.pem if settings.relayhost_ca_file else None,
        settings=settings,
        parameters=parameters(settings, host.uid),
        services=settings.services,
        memory=host.memory,
        uid=host.uid,
    )


def parameters(settings: Settings, uid: int) -> Mapping[str, str]:
    """The user's own, for main.cf."""
    found = {n: v for n, v in settings.parameters.items() if n not in restrictions.REPLACED}
    if uid and "import_environment" in found:
        # Without it no program of Postfix would start (entrypoint/nonroot.py).
        found["import_environment"] += " LD_PRELOAD"
    return found

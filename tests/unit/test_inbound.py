"""Mail that comes in for others: which way it goes, for whom it is taken, and what makes no sense there."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from entrypoint.config import decision, environment, rules
from entrypoint.config.environment import IncompleteError
from entrypoint.config.host import Host
from entrypoint.config.policy import Policy
from entrypoint.config.policy.restrictions import domains_pattern, postmaster_pattern
from entrypoint.config.problem import MisconfiguredError

ONE = {"RELAY_DOMAINS": "example.com [inside]:25"}


def decided(machine: Host, **environ: str) -> Policy:
    return decision.make(ONE | environ, None, machine)


def refused(machine: Host, **environ: str) -> list[str]:
    with pytest.raises(MisconfiguredError) as error:
        decision.make(ONE | environ, None, machine)
    return [str(problem) for problem in error.value.problems]


class TestWays:
    """A domain that is relayed without a way would go to its MX, which is this relay."""

    def way(self, machine: Host, domain: str = "example.com", **environ: str) -> str:
        return decided(machine, **environ).tables["relay_domains"][domain]

    def test_the_server_that_stands_beside_the_domain(self, machine: Host) -> None:
        assert self.way(machine) == "relay:[inside]:25"

    def test_several_servers_are_tried_in_their_order(self, machine: Host) -> None:
        both = "relay:[first]:25, [second]:2525"
        assert self.way(machine, RELAY_DOMAINS="example.com [first]:25 [second]:2525") == both
        assert self.way(machine, RELAY_DOMAINS="example.com [first], [second]:2525") == both

    def test_domains_and_servers_may_share_a_line(self, machine: Host) -> None:
        policy = decided(
            machine,
            RELAY_DOMAINS="example.com example.net [a] example.org smtps:[b]:465",
            RELAY_TRANSPORT="[c]",
        )
        assert policy.tables["relay_domains"] == {
            "example.com": "relay:[c]:25",
            "example.net": "relay:[a]:25",
            "example.org": "smtps:[b]:465",
        }

    def test_the_reason_of_an_error_goes_to_the_end_of_the_line(self, machine: Host) -> None:
        gone = "error:5.1.2 this domain has moved to example.org"
        assert self.way(machine, RELAY_DOMAINS=f"example.com {gone}") == gone

    @pytest.mark.parametrize(
        ("domain", "pattern"),
        [
            ("example.com", "*"),
            ("example.com", ".com"),
            ("a.example.com", ".example.com"),
            (".a.example.com", ".example.com"),
        ],
    )
    def test_what_the_transport_table_says_of_the_parent_or_of_all(
        self, machine: Host, domain: str, pattern: str
    ) -> None:
        environ = {
            "RELAY_DOMAINS": domain,
            "TRANSPORT": f"{pattern} smtp:[all]:25",
            "POSTMASTER": "ann@example.net",
        }
        assert self.way(machine, domain, **environ) == "smtp:[all]:25"

    def test_a_domain_that_is_another_name_of_one_needs_no_server(self, machine: Host) -> None:
        environ = {
            "RELAY_DOMAINS": "example.com [inside]:25; example.net",
            "VIRTUAL": "@example.net @example.com",
        }
        assert self.way(machine, "example.net", **environ) == "error:5.1.1 User unknown"

    @pytest.mark.parametrize(
        ("setting", "way"),
        [
            ("TRANSPORT", "example.com :"),
            ("TRANSPORT", "* smtp:"),
            ("RELAY_TRANSPORT", "relay:"),
            ("RELAY_DOMAINS", "example.com smtps:"),
        ],
    )
    def test_the_domains_own_mx_is_no_server(self, machine: Host, setting: str, way: str) -> None:
        """It is this relay, as a rule, and what it takes would be returned."""
        [problem] = refused(machine, **({"RELAY_DOMAINS": "example.com"} | {setting: way}))
        assert problem.startswith("RELAY_DOMAINS=example.com: must have a server")

    def test_an_address_without_brackets_is_no_domain(self, machine: Host) -> None:
        [problem] = refused(machine, RELAY_DOMAINS="example.com 10.0.0.5", RELAY_TRANSPORT="[inside]")
        assert problem.endswith("not '10.0.0.5'")

    def test_a_number_is_no_server(self, machine: Host) -> None:
        [problem] = refused(machine, RELAY_DOMAINS="example.com smtp:25")
        assert problem.endswith("must name a host after smtp:, or put 'smtp' in brackets if it is one")


class TestAliases:
    """@domain in virtual(5) takes everybody, unless it is known who exists where it leads."""

    def aliases(self, machine: Host, **environ: str) -> dict[str, str]:
        two = {
            "RELAY_DOMAINS": "example.com [inside]:25; example.net",
            "VIRTUAL": "@example.net @example.com",
        }
        return decided(machine, **(two | environ)).tables["virtual"]

    def test_without_a_list_of_recipients_all_is_taken(self, machine: Host) -> None:
        assert self.aliases(machine) == {"@example.net": "@example.com"}

    def test_with_a_list_it_is_those_on_it(self, machine: Host) -> None:
        assert self.aliases(machine, RELAY_RECIPIENTS="ann@example.com, bob@example.com") == {
            f"{name}@example.net": f"{name}@example.com" for name in ("postmaster", "abuse", "ann", "bob")
        }

    def test_with_the_whole_domain_on_the_list_it_is_all(self, machine: Host) -> None:
        assert self.aliases(machine, RELAY_RECIPIENTS="@example.com") == {"@example.net": "@example.com"}

    def test_aliases_at_the_other_domain_count_and_own_ones_come_first(self, machine: Host) -> None:
        found = self.aliases(
            machine,
            RELAY_RECIPIENTS="ann@example.com, bob@example.com",
            VIRTUAL="@example.net @example.com; info@example.com ann@example.com; bob@example.net ann@example.com",
        )
        assert found["info@example.net"] == "info@example.com"
        assert found["bob@example.net"] == "ann@example.com"
        assert found["ann@example.net"] == "ann@example.com"

    def test_two_targets_get_what_each_has(self, machine: Host) -> None:
        found = self.aliases(
            machine,
            RELAY_DOMAINS="example.com [inside]; example.org [inside]; example.net",
            RELAY_RECIPIENTS="ann@example.com, ann@example.org, bob@example.org",
            VIRTUAL="@example.net @example.com @example.org",
        )
        assert found["ann@example.net"] == "ann@example.com, ann@example.org"
        assert found["bob@example.net"] == "bob@example.org"

    @pytest.mark.parametrize(
        "virtual",
        [
            "@example.net @elsewhere.example",
            "@elsewhere.example @example.com",
            "@example.net bob@example.com",
        ],
    )
    def test_where_somebody_else_knows_who_exists_it_stays_as_it_was(
        self, machine: Host, virtual: str
    ) -> None:
        more = {"RELAY_TRANSPORT": "[inside]", "RELAY_RECIPIENTS": "ann@example.com", "VIRTUAL": virtual}
        assert self.aliases(machine, **more) == dict([virtual.split()])


class TestPostmaster:
    @pytest.mark.parametrize(
        "address",
        [
            "postmaster@relay.example.com",
            "Abuse@Relay.Example.COM",
            "postmaster@[192.0.2.1]",
            "abuse@[IPv6:2001:db8::1]",
        ],
    )
    def test_the_relay_has_one_by_its_name_and_by_any_address(self, address: str) -> None:
        assert re.search(self.pattern(), address, re.IGNORECASE)

    @pytest.mark.parametrize(
        "address",
        [
            "root@[192.0.2.1]",
            "postmaster@example.com",
            "postmaster@relay-example.com",
            "postmaster@[192.0.2.1]@x",
        ],
    )
    def test_others_are_not_meant(self, address: str) -> None:
        assert not re.search(self.pattern(), address, re.IGNORECASE)

    def pattern(self) -> str:
        return postmaster_pattern("relay.example.com").strip("/").replace("$$", "$")

    def test_subdomains_have_the_same(self) -> None:
        ours = re.compile(f"@({domains_pattern(['example.com', '.example.org'])})$")
        assert ours.search("abuse@a.b.example.org")
        assert ours.search("abuse@example.com")
        assert not ours.search("abuse@example.org")
        assert not ours.search("abuse@a.example.com")

    @pytest.mark.parametrize(
        ("domains", "whose"),
        [
            (
                "old.example error:5.1.2 no more; .example.org [a]; example.com [a]; example.net [a]",
                "example.com",
            ),
            ("old.example; example.com [a]", "old.example"),
            ("old.example error:5.1.2 no more; .example.com [a]", "old.example"),
        ],
    )
    def test_one_without_a_domain_is_at_the_first_where_somebody_gets_mail(
        self, machine: Host, domains: str, whose: str
    ) -> None:
        other = {"VIRTUAL": "@old.example @example.com"} if "old.example;" in domains else {}
        assert f"$${{1}}@{whose} " in decided(machine, RELAY_DOMAINS=domains, **other).alias_maps[0]

    def test_he_must_be_named_where_only_subdomains_are_taken(self, machine: Host) -> None:
        [problem] = refused(machine, RELAY_DOMAINS=".example.com [inside]")
        assert problem.startswith("RELAY_DOMAINS=.example.com: must come with POSTMASTER")


@pytest.mark.parametrize("site", ["bl.example=1.2.3.4", "bl.example=127.0.0.2-11", "b l=", "bl.example="])
def test_what_is_no_blocklist_is_refused(machine: Host, site: str) -> None:
    assert refused(machine, DNSBL_SITES=site)[0].startswith("DNSBL_SITES=")


@pytest.mark.parametrize(
    ("site", "asked"),
    [
        ("bl.example", "bl.example=127.[0..254].[0..255].[0..255]"),
        ("bl.example=127.0.0.[2..11]", "bl.example=127.0.0.[2..11]"),
    ],
)
def test_a_blocklists_error_lists_nobody(machine: Host, site: str, asked: str) -> None:
    lists = decided(machine, DNSBL_SITES=site).restrictions["inbound"].recipient
    assert f"reject_rbl_client {asked}" in lists


class TestCircles:
    @pytest.fixture
    def here(self, machine: Host) -> Host:
        return replace(machine, own=(ip_address("127.0.0.1"), ip_address("172.18.0.5")))

    @pytest.mark.parametrize(
        "hop",
        [
            "[relay.example.com]:25",
            "[Relay.example.com.]",
            "[172.18.0.5]",
            "[::ffff:172.18.0.5]",
            "[localhost]:587",
            "[127.0.0.1]",
            "[127.8.0.1]",
            "[0.0.0.0]",
        ],
    )
    def test_a_way_back_to_one_of_the_relays_ports_is_refused(self, here: Host, hop: str) -> None:
        for environ in (
            {"RELAYHOST": hop},
            {"RELAY_TRANSPORT": hop},
            {"TRANSPORT": f"example.com smtp:{hop}"},
        ):
            [problem] = refused(here, **environ)
            assert "must not be this relay itself" in problem

    def test_the_containers_name_is_its_own_under_another_name_too(self, here: Host) -> None:
        [problem] = refused(here, MYHOSTNAME="mx.example.com", RELAYHOST=f"[{here.name}]")
        assert "must not be this relay itself" in problem

    @pytest.mark.parametrize("hop", ["[127.0.0.1]:10025", "[localhost]:2525"])
    def test_a_server_beside_the_relay_has_a_port_of_its_own(self, here: Host, hop: str) -> None:
        assert decided(here, RELAYHOST=hop).relayhost


def test_recipients_elsewhere_are_named_with_the_first_line_of_each_domain(
    machine: Host, tmp_path: Path
) -> None:
    text = "ann@example.com\n# others\nbob@example.org\neve@example.org\n@example.net\n"
    (tmp_path / "relay_recipients").write_text(text)
    settings = environment.read(ONE, directory=tmp_path)
    where, rule = (
        tmp_path / "relay_recipients",
        "must be at RELAY_DOMAINS, and this domain is not one of them",
    )
    assert [str(problem) for problem in rules.check(settings, machine)] == [
        f"{where}:3: @example.org {rule}",
        f"{where}:5: @example.net {rule}",
    ]


def test_a_mistake_in_a_file_is_not_followed_by_complaints_of_what_is_missing(
    machine: Host, tmp_path: Path
) -> None:
    (tmp_path / "relay_domains").write_text("example.com inside:x\n")
    with pytest.raises(IncompleteError) as error:
        environment.read({"RELAY_RECIPIENTS": "ann@example.com"}, directory=tmp_path)
    assert error.value.wrong == {"RELAY_DOMAINS"}
    assert rules.check(error.value.settings, machine, error.value.wrong) == []


def test_a_file_in_place_of_the_directory_of_tables_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("example.com [inside]:25\n")
    with pytest.raises(IncompleteError, match="config: must be a directory"):
        environment.read({}, directory=tmp_path / "config")


def test_dane_inside_needs_dane_outside(machine: Host) -> None:
    [problem] = refused(machine, RELAY_TLS_LEVEL="dane")
    assert problem.startswith("RELAY_TLS_LEVEL=dane: must come with RELAYHOST_TLS_LEVEL=dane")
    assert decided(machine, RELAY_TLS_LEVEL="dane", RELAYHOST_TLS_LEVEL="dane")

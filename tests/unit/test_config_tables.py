"""Tables that users write: what each line means, and what is said of a line that means nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entrypoint.config.problem import MisconfiguredError
from entrypoint.config.tables import access, routing, upstreams
from entrypoint.config.tables.lines import MOST_PROBLEMS, Source
from entrypoint.config.tables.routing import Alias, Route
from entrypoint.config.values import Relayhost

Parser = Callable[[Source], Any]

YESCRYPT = "$y$j9T$wVG1XvpSFxBRUwBGZlgdU/$GpGsHYMDTjAyrhbLNuXHi5uqb4Lqc3Ae1XxKvRlUQR1"
SHA512 = "$6$" + "salt$" + "a" * 86
BCRYPT = "$2b$12$" + "a" * 53
FINGERPRINT = "AB:" * 31 + "CD"


def file(text: str, **options: Any) -> Source:
    return Source("/config/t", text, **options)


def variable(text: str, separators: str = ";", **options: Any) -> Source:
    return Source("T", text, separators, **options)


def faults(parse: Parser, source: Source) -> list[str]:
    with pytest.raises(MisconfiguredError) as error:
        parse(source)
    return [str(problem) for problem in error.value.problems]


class TestLines:
    """What all tables have in common, by the one whose entries are their text."""

    @pytest.mark.parametrize(
        "text",
        [
            "a@example.com\nb@example.com\n",
            "a@example.com\nb@example.com",
            "\ufeffa@example.com\r\nb@example.com\r\n",
            "# comment\n\n  a@example.com \t\n   # another\n\tb@example.com\n\n",
            "A@Example.COM\nb@EXAMPLE.com\n",
        ],
        ids=["lines", "no_end", "windows", "comments_and_space", "capitals"],
    )
    def test_a_file_has_an_entry_a_line(self, text: str) -> None:
        assert routing.relay_recipients(file(text)) == ("a@example.com", "b@example.com")

    @pytest.mark.parametrize(
        "text",
        [
            "a@example.com;b@example.com",
            "a@example.com; b@example.com;",
            "a@example.com\nb@example.com\n",
            # As YAML's blocks end: the line break does not make two lines of one.
            "a@example.com; b@example.com\n",
            "a@example.com; b@example.com\r\n",
            "\ufeffa@example.com; b@example.com",
            ";;a@example.com;# comment;b@example.com",
        ],
    )
    def test_in_a_variable_something_else_may_separate_them(self, text: str) -> None:
        assert routing.relay_recipients(variable(text)) == ("a@example.com", "b@example.com")

    def test_nothing_else_separates_the_lines_of_a_file(self) -> None:
        assert faults(routing.relay_recipients, file("a@example.com;b@example.com\n")) == [
            "/config/t:1: a@example.com;b@example.com must be one address, or a whole domain, such as: "
            "user@example.com or @example.com"
        ]

    @pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n", " \t\r\n", "\ufeff"])
    def test_a_table_may_be_empty(self, text: str) -> None:
        assert routing.transport(file(text)) == ()
        assert access.hashes(file(text)) == ()

    @pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n"])
    def test_one_that_would_let_go_of_everything_may_not(self, text: str) -> None:
        """As it is for a moment while somebody writes it."""
        said = "/config/t: must have an entry, or not be there: then"
        assert faults(access.sender_logins, file(text)) == [f"{said} any login may send as anybody"]
        assert faults(upstreams.upstreams, file(text)) == [f"{said} mail goes to the recipients' own servers"]

    def test_every_line_that_is_wrong_is_named_as_an_editor_counts_them(self) -> None:
        found = faults(routing.transport, file("# ways\n\nexample.com\nexample.org smtp:\nb@d@e x:\n"))
        assert [line.partition(" ")[0] for line in found] == ["/config/t:3:", "/config/t:5:"]

    def test_a_variable_has_no_lines_to_count(self) -> None:
        [found] = faults(routing.transport, variable("example.com smtp:; example.org"))
        assert found == (
            "T=example.org: must be a pattern and a transport, such as: example.com smtp:[mail.example.com]:25"
        )

    def test_a_wrong_file_does_not_fill_the_log(self) -> None:
        found = faults(routing.transport, file("nonsense\n" * 1000))
        assert len(found) == MOST_PROBLEMS + 1
        assert found[-1] == f"/config/t: has {1000 - MOST_PROBLEMS} more lines that are wrong"
        assert len(faults(routing.relay_recipients, file("nonsense\n" * 1000))) == MOST_PROBLEMS + 1

    @pytest.mark.parametrize("invisible", ["\u200b", "\u00a0", "\x00", "\x1b", "\udcff", "\u202e", "\ufeff"])
    def test_what_nobody_sees_is_refused(self, invisible: str) -> None:
        [found] = faults(access.sender_logins, file(f"ann{invisible}b ann@example.com\n"))
        assert "must not contain invisible characters" in found
        assert found.isascii()
        assert found.isprintable()

    def test_a_line_cannot_forge_another_in_the_log(self) -> None:
        [found] = faults(routing.transport, file("example.com\rerror: all is well\n"))
        assert "\r" not in found

    @pytest.mark.parametrize(
        ("parse", "text", "key"),
        [
            (routing.transport, "example.com smtp:\nExample.com relay:\n", "example.com"),
            (routing.relay_domains, "example.com\nEXAMPLE.COM [h]\n", "example.com"),
            (routing.virtual, "a@example.com b@x.example\nA@example.com c@x.example\n", "a@example.com"),
            (access.hashes, f"ann:{SHA512}\nAnn:{BCRYPT}\n", "ann"),
            (access.passwords, "ann:one\nANN:two\n", "ann"),
            (access.sender_logins, "ann a@example.com\nAnn b@example.com\n", "ann"),
            (
                access.client_certificates,
                f"{FINGERPRINT} a\n{FINGERPRINT.replace(':', '').lower()} b\n",
                "ABAB",
            ),
            (upstreams.upstreams, "a@example.com [h]\nA@example.com [i]\n", "a@example.com"),
            (upstreams.upstreams, "@example.com [h]\n@Example.com [i]\n", "@example.com"),
            (upstreams.upstreams, "* [h]\n* [H]:25\n", "* [h]:25"),
        ],
    )
    def test_of_two_entries_for_one_key_neither_is_guessed(self, parse: Parser, text: str, key: str) -> None:
        [found] = faults(parse, file(text))
        assert found.startswith("/config/t:2:")
        assert f"must be the only entry for {key}" in found
        assert found.endswith("and there is another (first at /config/t:1)")
        assert "(first at" not in faults(parse, variable(text))[0]


class TestTransport:
    @pytest.mark.parametrize(
        ("text", "pattern", "transport", "nexthop"),
        [
            ("example.com smtp:[mail.example.net]:25", "example.com", "smtp", "[mail.example.net]:25"),
            ("Example.com. smtp:", "example.com", "smtp", ""),
            (".example.com :[inside]:25", ".example.com", "", "[inside]:25"),
            ("Ann@Example.com relay:[inside]", "ann@example.com", "relay", "[inside]"),
            ("* smtps:[a.example]:465, [b.example]:465", "*", "smtps", "[a.example]:465, [b.example]:465"),
            ("example.com\terror:5.1.1 no such user", "example.com", "error", "5.1.1 no such user"),
            ("example.com \t discard:", "example.com", "discard", ""),
            ("example.com mine:anything at all", "example.com", "mine", "anything at all"),
        ],
    )
    def test_a_way(self, text: str, pattern: str, transport: str, nexthop: str) -> None:
        assert routing.transport(file(text)) == (Route("/config/t:1", pattern, transport, nexthop),)

    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("example.com", "must be a pattern and a transport"),
            ("example.com [mail.example.net]:25", "must name a transport before the next hop"),
            ("exa_mple..com smtp:", "must be a domain such as example.com"),
            ("a.example,b.example smtp:", "must be a domain such as example.com"),
            ("ann@ smtp:", "must be a domain such as example.com"),
            ("example.com smtp:[mail", "must be one next hop"),
            ("example.com relay:mail:70000", "must be a port from 1 to 65535"),
            ("example.com :192.168.1.300", "must name a host or an address"),
            ("example.com smtp:[a.example],", "must be one next hop"),
        ],
    )
    def test_what_is_none(self, text: str, rule: str) -> None:
        assert rule in faults(routing.transport, file(text))[0]


class TestRelayRecipients:
    @pytest.mark.parametrize(
        "text", ["a@example.com", "@example.com", "a+b=c/d!e'f%g@x-y.example", "ä@example.com", "a@b"]
    )
    def test_an_address_or_a_whole_domain(self, text: str) -> None:
        assert routing.relay_recipients(file(text)) == (text,)

    @pytest.mark.parametrize(
        "text",
        [
            "example.com",
            "a@",
            "@",
            "a b@example.com",
            "a@b@c",
            "<a@example.com>",
            "a@.example.com",
            "a@example..com",
            "a@example.com,",
            "a@-x.example",
            "a@example.com.",
            '"a b"@example.com',
            "a@[192.0.2.1]",
            "a\u200bnn@example.com",
            f"{'a' * 65}@example.com",
            f"a@{'x' * 64}.example",
            f"a@{'x.' * 127}example",
        ],
    )
    def test_what_is_neither(self, text: str) -> None:
        [found] = faults(routing.relay_recipients, file(text))
        assert "must be one address, or a whole domain" in found

    def test_the_longest_address_is_no_longer_than_a_key_of_lmdb(self) -> None:
        [longest] = routing.relay_recipients(file("\U0001d4b6" * 64 + "@" + "x." * 126 + "x"))
        assert len(longest.encode()) == 510


class TestVirtual:
    def test_an_address_or_a_domain_stands_for_others(self) -> None:
        text = (
            "Info@example.com Ann@example.com, bob@example.org carl@example.org\n@example.net @example.com\n"
        )
        assert routing.virtual(file(text)) == (
            Alias(
                "/config/t:1", "info@example.com", ("Ann@example.com", "bob@example.org", "carl@example.org")
            ),
            Alias("/config/t:2", "@example.net", ("@example.com",)),
        )

    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("info@example.com", "must name at least one address after the first"),
            ("info ann@example.com", "must begin with an address or @domain"),
            ("info@example.com ann", "must lead to addresses, and 'ann' is none"),
            ("info@example.com |/bin/sh", "must lead to addresses"),
            ("info@example.com: ann@example.com", "must begin with an address or @domain"),
        ],
    )
    def test_what_is_none(self, text: str, rule: str) -> None:
        assert rule in faults(routing.virtual, file(text))[0]


class TestUsers:
    @pytest.mark.parametrize("hashed", [YESCRYPT, SHA512, BCRYPT, "$5$rounds=5000$s$" + "a" * 43])
    def test_a_login_and_its_hash(self, hashed: str) -> None:
        [login] = access.hashes(file(f"ann@example.com:{hashed}\r\n"))
        assert (login.where, login.name, login.secret.reveal()) == ("/config/t:1", "ann@example.com", hashed)

    @pytest.mark.parametrize(
        "hashed",
        [
            BCRYPT.replace("$2b$12$", "$2b$31$"),
            BCRYPT.replace("$2b$12$", "$2b$16$"),
            "$6$rounds=1000000$s$" + "a" * 86,
            YESCRYPT.replace("$j9T$", "$jCT$"),
            YESCRYPT.replace("$j9T$", "$zzz$"),
        ],
    )
    def test_a_hash_that_a_guesser_could_keep_the_relay_busy_with_is_refused(self, hashed: str) -> None:
        [found] = faults(access.hashes, file(f"ann:{hashed}\n", secret=True))
        assert "must be a hash that takes at most" in found

    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("ann:hunter2", "must be a hash"),
            ("ann:{SHA512-CRYPT}hunter2", "without the {SCHEME}"),
            ("hunter2", "must be login:hash"),
            (":hunter2", "must be login:hash"),
            ("hunter2:", "must be login:hash"),
            ("a hunter2:x", "must have a login without spaces"),
            ("hunter2;b:x", "must have a login without spaces"),
        ],
    )
    def test_what_may_be_a_password_is_never_shown(self, text: str, rule: str) -> None:
        [found] = faults(access.hashes, file(f"# users\n{text}\n", secret=True))
        assert found.startswith("/config/t:2: must")
        assert rule in found
        assert "hunter2" not in found


class TestPasswords:
    @pytest.mark.parametrize(
        "password",
        ["p:a,s;s", " # spaces ", "ends in a space ", "päss\udcff", "tab\tin it\t", "$y$", "\\n\"'"],
    )
    def test_any_character_may_be_in_a_password(self, password: str) -> None:
        text = f"# comment\n  ann:{password}\r\nbob:x\n"
        ann, bob = access.passwords(variable(text, ",", secret=True, exact=True))
        assert (ann.name, ann.secret.reveal(), bob.secret.reveal()) == ("ann", password, "x")

    def test_in_one_line_commas_separate_them_as_they_always_did(self) -> None:
        for text in ("ann:one,bob:two words", "ann:one,bob:two words\n", "\nann:one, bob:two words"):
            found = access.passwords(variable(text, ",", exact=True))
            assert {login.name: login.secret.reveal() for login in found} == {
                "ann": "one",
                "bob": "two words",
            }

    @pytest.mark.parametrize(("text", "hinted"), [("ann:se,cret", True), ("ann:se,cret\nbob", False)])
    def test_a_comma_in_the_password_of_one_line_is_told_with_the_way_around(
        self, text: str, hinted: bool
    ) -> None:
        [found] = faults(access.passwords, variable(text, ",", secret=True, exact=True))
        hint = (
            " (a comma in a password: use SMTPD_SASL_USERS_FILE, its first line a comment)" if hinted else ""
        )
        assert found == f"T: must be login:password{hint}"
        access.passwords(variable(f"# logins\n{text.partition(chr(10))[0]}\n", ",", secret=True, exact=True))

    @pytest.mark.parametrize("text", ["ann:a\0b", "ann:a\x08b", "ann:hunter2\rbob:x\nc:d", "ann:a\x7f"])
    def test_what_no_client_can_send_is_refused_and_not_shown(self, text: str) -> None:
        [found, *_] = faults(access.passwords, variable(text, ",", secret=True, exact=True))
        assert found == "T: must not contain invisible characters: copied from a page, or not UTF-8?"


class TestSenderLogins:
    def test_a_login_and_what_it_may_send_as(self) -> None:
        [line] = access.sender_logins(file("Ann\tAnn@Example.com, @example.org  *\n"))
        assert (line.login, line.senders) == ("Ann", ("ann@example.com", "@example.org", "*"))

    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("ann", "must be a login and what it may send as"),
            ("* ann@example.com", "must be a login and what it may send as"),
            ("@example.com ann@example.com", "must be a login and what it may send as"),
            (", ann@example.com", "must be a login and what it may send as"),
            # The order of Postfix's own table.
            ("ann@example.com ann", "must list addresses, @domains or *, and 'ann' is none of them"),
            ("ann example.com", "and 'example.com' is none of them"),
            ("ann @example..com", "and '@example..com' is none of them"),
            ("ann a@example.com,", "and '' is none of them"),
            ("ann .example.com", "and '.example.com' is none of them"),
        ],
    )
    def test_what_is_none(self, text: str, rule: str) -> None:
        assert rule in faults(access.sender_logins, file(text))[0]


class TestClientCertificates:
    @pytest.mark.parametrize("separator", [" ", "\t", "   "])
    def test_a_fingerprint_in_either_spelling_and_a_name(self, separator: str) -> None:
        for written in (FINGERPRINT, FINGERPRINT.lower().replace(":", "")):
            [line] = access.client_certificates(file(f"{written}{separator}the printer\n"))
            assert (line.fingerprint, line.name) == (FINGERPRINT, "the printer")

    def test_without_a_name_it_is_called_by_its_beginning(self) -> None:
        [line] = access.client_certificates(file(FINGERPRINT))
        assert line.name == "AB:AB:AB:AB"

    @pytest.mark.parametrize("text", ["printer", "AB" * 20 + " sha1", "XY" * 32, FINGERPRINT + ":AB"])
    def test_what_is_none(self, text: str) -> None:
        [found] = faults(access.client_certificates, file(text))
        assert "must begin with a SHA-256 fingerprint of 64 hexadecimal digits" in found


class TestUpstreams:
    def test_who_goes_where_as_whom_and_how(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_bytes(b"p\xe4ss:word \n")
        options = f"tls=verify password_file={tmp_path}/password user=me@example.com"
        text = f"*\tsmtp.example.com\n@Example.ORG [192.0.2.1]:587 {options}\nAnn@example.com [h]:465 tls=encrypt\n"
        everybody, domain, ann = upstreams.upstreams(file(text))
        assert (everybody.sender, everybody.relayhost, everybody.username, everybody.tls_level) == (
            "*",
            Relayhost("smtp.example.com", 25, mx=True),
            None,
            None,
        )
        assert (domain.where, domain.sender, domain.tls_level) == ("/config/t:2", "@example.org", "verify")
        assert (domain.username, domain.password_file) == ("me@example.com", f"{tmp_path}/password")
        assert domain.password
        assert domain.password.reveal() == b"p\xe4ss:word ".decode(errors="surrogateescape")
        assert (ann.sender, ann.relayhost.port, ann.tls_level) == ("ann@example.com", 465, "encrypt")

    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("*", "must be a sender (or *) and a next hop, such as: * [smtp.example.com]:587"),
            ("[smtp.example.com]:587 user=u", "must begin with *, a sender's address, or @domain"),
            ("ann [h]", "must begin with *, a sender's address, or @domain"),
            ("@exa..mple [h]", "must begin with *, a sender's address, or @domain"),
            ("@a.example,@b.example [h]", "must begin with *, a sender's address, or @domain"),
            ("* user=u", "must name a host or an address"),
            ("* [h] [i]", "must have no options but user=NAME, password_file=/path and tls=LEVEL"),
            ("* [h] tls", "must have no options but"),
            ("* [h] tls=", "must have no options but"),
            ("* [h] TLS=may", "must have no options but"),
            ("* [h] tls=may tls=none", "must give tls= once"),
            ("* [h] tls=on", "must have tls= with one of none, may, encrypt, verify, secure, dane"),
            ("* [h] user=u", "must have user= and password_file= together"),
            ("* [h] password_file=/p", "must have user= and password_file= together"),
            ("* [h] user=u password_file=/none", "password_file must be a readable file: No such file"),
            ("* [h] user=u password_file=/", "password_file must be a file, and this is a directory"),
            ("* [h] user=u password_file=p", "password_file must be the full path of a file"),
            (
                "* [h] user=u:v password_file=/dev/zero",
                "password_file must be a file, and this is a directory or something",
            ),
        ],
    )
    def test_what_is_none(self, text: str, rule: str) -> None:
        assert rule in faults(upstreams.upstreams, file(text))[0]

    def test_a_password_is_one_line_and_a_login_has_no_colon(self, tmp_path: Path) -> None:
        (tmp_path / "two").write_text("one\ntwo\n")
        (tmp_path / "one").write_text("one\n")
        text = f"* [h] user=u password_file={tmp_path}/two\n* [i] user=u:v password_file={tmp_path}/one\n"
        two, colon = faults(upstreams.upstreams, file(text))
        assert two.endswith("password_file must not contain a line break or a NUL")
        assert "must not contain ':'" in colon

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("* [h]:587 user=u password=hunter2", "T='* [h]:587': must"),
            ("* [h]:587 user=u password_file=hunter2", "T='* [h]:587': password_file must"),
            ("* [h]:587 me hunter2", "T='* [h]:587': must"),
            ("ann@example.com me:hunter2@smtp.example.com:587", "T: must"),
            ("me:hunter2@smtp.example.com:587", "T: must"),
            ("hunter2@", "T: must"),
            ("hunter2 [h]", "T: must"),
        ],
    )
    def test_a_password_in_the_wrong_place_is_not_shown(self, text: str, shown: str) -> None:
        [found] = faults(upstreams.upstreams, variable(text))
        assert found.startswith(shown)
        assert "hunter2" not in found

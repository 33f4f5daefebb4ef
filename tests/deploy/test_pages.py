"""The pages for hospitals and coordinators: every command exists with its options, every link leads somewhere."""

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from common.errors import PUBLIC_CODES, tree
from common.schema import _UniqueKeys
from deploy.cli import commands

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PAGES = sorted(DEPLOY.glob("*.md"))
STOPS = {"|", "&&", ";", ">", "…", "..."}


def blocks(page: Path, language: str = "") -> list[str]:
    """The fenced blocks of a page in this language."""
    parts = re.split(r"^```(.*)\n", page.read_text(), flags=re.MULTILINE)
    return [parts[place + 1] for place in range(1, len(parts), 4) if parts[place] == language]


def calls() -> list[tuple[str, list[str]]]:
    """Each `wardround …` in a fenced block, in a table or sentence, in a unit, a compose file or an image."""
    found = []
    for page in PAGES:
        lines = [line for block in blocks(page) for line in block.replace("\\\n", " ").splitlines()]
        for line in lines:
            match = re.search(r"(?:^|[ /])(?:wardround|enrolment) (?=[a-z-])(.+)", line)
            if match and not re.search(r"\b(tag|install|ln|systemctl|journalctl|docker build) ", line):
                found.append((page.name, shlex.split(match[1])))
    for unit in sorted((DEPLOY / "systemd").glob("*.service")):
        (line,) = re.findall(r"^ExecStart=\S+/wardround (.*)$", unit.read_text(), re.MULTILINE)
        found.append((unit.name, shlex.split(line)))
    for file in sorted((DEPLOY / "containers").glob("*.Dockerfile")):
        found += [
            (file.name, yaml.safe_load(line)) for line in re.findall(r"^CMD (\[.*)$", file.read_text(), re.MULTILINE)
        ]
    return found


def named() -> list[tuple[str, list[str]]]:
    """Each `wardround word word` that a sentence names, in a page or in the compose files' comments."""
    texts = [*PAGES, *sorted((DEPLOY / "containers").glob("*"))]
    command = re.compile(r"`wardround ((?:[a-z]+(?:-[a-z]+)* ?)+)[^`]*`")
    return [
        (page.name, words.split())
        for page in texts
        for words in command.findall(re.sub(r"\s+#?\s*", " ", page.read_text()))
    ]


def shown(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = commands
    while words and isinstance(command, click.Group):
        assert words[0] in command.commands, f"there is no `wardround … {words[0]}`"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize(("where", "words"), calls(), ids=shown)
def test_a_command_is_there_with_its_options_and_arguments(where, words):
    if words[0] == "--version":
        return
    command, rest = resolve(words)
    assert not isinstance(command, click.Group), "names a group of commands, not a command"
    for index, word in enumerate(rest):
        if word in STOPS:
            rest = rest[:index]
            break
    context = click.Context(command, info_name=command.name, resilient_parsing=True)
    parser = command.make_parser(context)
    _, left, _ = parser.parse_args(list(rest))
    assert not left, f"{left} is more than it takes"
    context = click.Context(command)
    given, _, _ = command.make_parser(context).parse_args(list(rest))
    missing = [param.name for param in command.params if param.required and given.get(param.name) is None]
    assert not missing, f"needs {missing}"


@pytest.mark.parametrize(("where", "words"), named(), ids=shown)
def test_a_command_that_a_sentence_names_is_there(where, words):
    resolve([word for word in words if word.islower()])


def test_the_pages_name_commands_at_all():
    assert len(calls()) > 25 and len(named()) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert all((page.parent / link).resolve().is_file() for link in links if "://" not in link), links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_repository_that_a_page_names_are_there(page):
    paths = re.findall(r"(?:deploy|tests)/[\w./-]+\.\w+", page.read_text())
    assert all((ROOT / path).is_file() for path in paths), paths


def test_the_index_has_every_page():
    index = (DEPLOY / "README.md").read_text()
    assert all(f"]({page.name})" in index for page in PAGES if page.name != "README.md")


def test_every_code_that_may_leave_a_site_is_explained_with_its_exit_code():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d, ]+) \|", (DEPLOY / "hospital-it.md").read_text(), re.MULTILINE))
    assert set(rows) == set(PUBLIC_CODES)
    exits = {
        code: ", ".join(sorted({str(kind.exit_code) for kind in tree() if kind.code == code})) for code in PUBLIC_CODES
    }
    assert exits == rows
    numbers = ", ".join(exits.values()).split(", ")
    assert len(set(numbers)) == len(numbers), "two codes end with one exit code"


def test_settings_that_the_pages_show_are_taken():
    """Keys in the yaml blocks are keys of site.yaml; wrong values would be refused here."""
    from client.site import Policy, SiteFile
    from common.errors import SiteFileError
    from common.schema import parse

    shown = [yaml.load(block, _UniqueKeys) for block in blocks(DEPLOY / "hospital-it.md", "yaml")]  # no key twice
    assert len(shown) == 3
    (targets,) = (content for content in shown if "target" in content)
    read = parse(yaml.safe_dump({"site": "north", "patient": "nr"} | targets), SiteFile, SiteFileError, "the page")
    assert [*read.target.columns, *read.target.masks] == ["event", "time", "outline"]
    for content in shown:
        Policy(**content.pop("policy", {}))
        assert set(content) <= set(SiteFile.__dataclass_fields__)
    for key in re.findall(r"`policy\.(\w+)`", "".join(page.read_text() for page in PAGES)):
        assert key in Policy.__dataclass_fields__, key


def test_the_port_is_the_one_that_a_consortium_has():
    from server.consortium.folder import DEFAULT_PORT

    for page in ("hospital-it.md", "coordinator.md", "containers/coordinator.compose.yaml"):
        assert str(DEFAULT_PORT) in (DEPLOY / page).read_text()

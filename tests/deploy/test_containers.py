"""The containers: valid against the Compose Specification, linted, and as closed as the design says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ROOT / "deploy" / "containers"
COMPOSE = sorted(CONTAINERS.glob("*.compose.yaml"))
DOCKERFILES = sorted(CONTAINERS.glob("*.Dockerfile"))
AGENT, CONNECTOR, RELAY = "10001", "10002", "10003"


def compose(name: str) -> dict:
    return yaml.safe_load((CONTAINERS / f"{name}.compose.yaml").read_text())


def services() -> list[tuple[str, dict]]:
    files = [compose("site"), compose("coordinator")]
    return [(name, service) for file in files for name, service in file["services"].items()]


def stages(path: Path) -> dict[str, list[str]]:
    """Instructions of each build stage, continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in filter(str.strip, text.splitlines()):
        if line.startswith("FROM "):
            found[line] = []
        found[next(reversed(found))].append(line)
    return found


def mounts(service: dict) -> dict[str, dict]:
    return {volume["target"]: volume for volume in service["volumes"]}


# ------------------------------------------------------------------------------------------------------- specification


@pytest.fixture(scope="module")
def specification():
    import fastjsonschema

    return fastjsonschema.compile(json.loads((ROOT / "tests/deploy/schemas/compose-spec.json").read_text()))


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_is_a_compose_file(path, specification):
    specification(yaml.safe_load(path.read_text()))


def test_the_specification_refuses_a_misspelt_key(specification):
    import fastjsonschema

    wrong = compose("site")
    wrong["services"]["agent"]["netwrok_mode"] = wrong["services"]["agent"].pop("network_mode")
    with pytest.raises(fastjsonschema.JsonSchemaException, match="netwrok_mode"):
        specification(wrong)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path):
    linter = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("hadolint is not installed here")
    done = subprocess.run([linter, "--no-color", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------------------------------------- what must be closed


def test_the_agent_has_no_network():
    agent = compose("site")["services"]["agent"]
    assert agent["network_mode"] == "none"
    assert not {"networks", "ports", "expose", "extra_hosts", "links"} & agent.keys()


def test_what_enrols_has_no_network_and_starts_only_when_called():
    enrolment = compose("site")["services"]["enrolment"]
    assert enrolment["network_mode"] == "none"
    assert enrolment["profiles"] and enrolment["restart"] == "no"


def test_the_agent_cannot_write_what_it_reads():
    found = mounts(compose("site")["services"]["agent"])
    assert found["/site"]["read_only"] and found["/site/data"]["read_only"]
    writable = {target for target, volume in found.items() if not volume.get("read_only")}
    assert writable == {"/site/state", "/site/run"}


def test_the_agent_does_not_see_the_connectors_key():
    hides = mounts(compose("site")["services"]["agent"])["/site/connector"]
    assert hides["source"].endswith("/run") and hides["read_only"]


def test_the_connector_is_given_its_folder_and_the_socket_and_nothing_else():
    connector = compose("site")["services"]["connector"]
    found = mounts(connector)
    assert set(found) == {"/connector", "/run/wardround"}
    assert found["/connector"]["source"].endswith("/connector")
    assert {target for target, volume in found.items() if not volume.get("read_only")} == {"/connector"}
    assert not {"ports", "expose", "env_file", "secrets", "configs", "volumes_from"} & connector.keys()
    assert set(connector["environment"]) == {"HTTPS_PROXY"}


def test_agent_and_connector_meet_in_one_folder_in_memory():
    site = compose("site")
    agent, connector = (mounts(site["services"][name]) for name in ("agent", "connector"))
    assert agent["/site/run"]["source"] == connector["/run/wardround"]["source"] == "relay"
    options = site["volumes"]["relay"]["driver_opts"]
    assert options["type"] == "tmpfs"
    assert {f"uid={AGENT}", f"gid={RELAY}", "mode=2750"} <= set(options["o"].split(","))


def test_agent_and_connector_are_different_users_who_share_the_sockets_group():
    site = compose("site")["services"]
    assert site["agent"]["user"] == f"{AGENT}:{RELAY}"
    assert site["connector"]["user"] == f"{CONNECTOR}:{RELAY}"


@pytest.mark.parametrize(("name", "service"), services(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_service_is_hardened(name, service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ulimits"]["core"] == 0
    assert service["pids_limit"] > 0
    assert not {"privileged", "pid", "ipc", "uts", "devices", "userns_mode"} & service.keys()
    assert service.get("cap_add", []) == (["DAC_OVERRIDE"] if name == "enrolment" else [])
    assert all("noexec" in entry for entry in service["tmpfs"])


@pytest.mark.parametrize(("name", "service"), services(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_folder_that_is_missing_on_the_host_is_an_error_and_not_made(name, service):
    bound = [volume for volume in service["volumes"] if volume["type"] == "bind"]
    assert bound and all(volume["bind"] == {"create_host_path": False} for volume in bound)
    assert all(":?" in volume["source"] for volume in bound), "an unset variable stops, and mounts nothing else"


def test_only_the_agent_gets_the_gpu_and_by_a_file_of_its_own():
    gpu = compose("site.gpu")["services"]
    assert set(gpu) == {"agent"} and set(gpu["agent"]) == {"environment", "deploy"}
    (device,) = gpu["agent"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]
    assert "gpu" not in (CONTAINERS / "site.compose.yaml").read_text()


# -------------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_bases_are_pinned(path):
    names: set[str] = set()
    for line in stages(path):
        image, *name = re.fullmatch(r"FROM (\S+)(?: AS (\S+))?", line).groups()
        assert image in names or re.fullmatch(r"python:3\.11\.\d+-slim-\w+", image), line
        names.update(filter(None, name))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_nothing_is_fetched_past_pip_and_nothing_secret_is_kept(path):
    lines = [line for lines in stages(path).values() for line in lines]
    assert not [line for line in lines if line.startswith("ADD ")]
    assert not [line for line in lines if re.search(r"\b(curl|wget|apt-get|git clone|chmod \S*s)\b", line)]
    assert not [line for line in lines if re.search(r"^(ARG|ENV)\b.*(KEY|SECRET|TOKEN|PASSWORD)", line)]


def final_stages() -> list[tuple[str, list[str], list[str]]]:
    """(name, lines of the stage, lines of the stages below it) of each image that runs."""
    site, coordinator = (stages(CONTAINERS / f"{name}.Dockerfile") for name in ("site", "coordinator"))
    base = site["FROM python:3.11.14-slim-bookworm AS base"]
    last = list(coordinator.values())[-1]
    return [
        ("agent", site["FROM base AS agent"], base),
        ("connector", site["FROM base AS connector"], base),
        ("coordinator", last, []),
    ]


@pytest.mark.parametrize(("lines", "below"), [stage[1:] for stage in final_stages()],
                         ids=[stage[0] for stage in final_stages()])  # fmt: skip
def test_every_image_runs_as_nobody_in_particular_and_can_be_asked_how_it_is(lines, below):
    (user,) = [line for line in lines if line.startswith("USER ")]
    assert int(user.split()[1].split(":")[0]) >= 10001
    assert [line for line in lines if line.startswith("HEALTHCHECK ")]
    assert not [line for line in lines if re.search(r"pip install|build-essential|gcc", line)]
    environment = " ".join(line for line in below + lines if line.startswith("ENV "))
    for setting in ("FLWR_TELEMETRY_ENABLED=0", "FLWR_DISABLE_UPDATE_CHECK=1", "OMP_NUM_THREADS=1", "PYTHONSAFEPATH=1"):
        assert setting in environment


def test_users_of_the_image_and_of_compose_are_the_same():
    site, coordinator = compose("site")["services"], compose("coordinator")["services"]
    users = {name: next(line.split()[1] for line in lines if line.startswith("USER "))
             for name, lines, _ in final_stages()}  # fmt: skip
    assert users == {name: (site | coordinator)[name]["user"] for name in users}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_build_context_is_a_list_of_what_may_enter(path):
    lines = [line for line in Path(f"{path}.dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {word for lines in stages(path).values() for line in lines
              if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]}  # fmt: skip
    assert copied == allowed
    assert all((ROOT / name).exists() for name in allowed)


CONNECTOR_STARTS = """
import sys

class Removed:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Removed())
import client.network.connector, client.relay, common.identity.enrolment, deploy.cli, deploy.daemons.health
from common.messages import ActivityReply, to_records
from common.record_bytes import from_bytes, to_bytes
print(len(to_bytes(from_bytes(to_bytes(to_records(ActivityReply("idle", 0, 0, 0)))))))
"""


def test_the_connector_runs_without_what_its_image_leaves_out():
    (line,) = [line for lines in stages(CONTAINERS / "site.Dockerfile").values() for line in lines if "xargs" in line]
    removed = line.split("--yes", 1)[1].split()
    assert "torch" in removed and "opacus" in removed and "pydicom" in removed
    modules = ["PIL" if name == "pillow" else name for name in removed]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", CONNECTOR_STARTS, *modules]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 0


# --------------------------------------------------------------------------------------------------------------- probe


def probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "deploy.daemons.health", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_probe_says_no_where_nobody_listens(tmp_path):
    assert probe("agent", str(tmp_path / "agent.sock")).returncode == 1
    assert probe("coordinator", str(tmp_path)).returncode == 1
    assert probe("nonsense", str(tmp_path)).returncode == 2


def test_the_probe_asks_the_agents_own_health_service(tmp_path):
    from grpc_health.v1 import health_pb2

    from client.relay import SERVICE, RelayServer

    server = RelayServer(tmp_path / "agent.sock", lambda data: data, lambda: None, largest=lambda: 10)
    server.start()
    try:
        assert probe("agent", str(tmp_path / "agent.sock")).stdout == "SERVING\n"
        server.health.set(SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)
        assert probe("agent", str(tmp_path / "agent.sock")).returncode == 1
    finally:
        server.stop()

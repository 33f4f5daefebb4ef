"""The systemd units: correct to systemd itself, and as closed as the design says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
SERVICES = sorted(path.name for path in SYSTEMD.glob("*.service"))
UNITS = [*SERVICES, "wardround-site.target"]


def unit(name: str) -> dict[str, list[str]]:
    """Every setting of a unit with its values in their order."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / name).read_text().splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def one(name: str, key: str) -> str:
    (value,) = unit(name)[key]
    return value


def paths(name: str, key: str) -> set[str]:
    return {path.lstrip("-") for value in unit(name).get(key, []) for path in value.split()}


# ---------------------------------------------------------------------------------------------------- to systemd's eye


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Path:
    """A root folder with the units installed as on a hospital's machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    root = tmp_path_factory.mktemp("machine")
    installed = root / "etc" / "systemd" / "system"
    for name in UNITS:
        installed.mkdir(parents=True, exist_ok=True)
        shutil.copy(SYSTEMD / name, installed)
    (installed / "wardround-agent.service.d").mkdir()
    shutil.copy(SYSTEMD / "wardround-agent.gpu.conf", installed / "wardround-agent.service.d" / "gpu.conf")
    shutil.copytree("/usr/lib/systemd/system", root / "usr" / "lib" / "systemd" / "system", symlinks=True)
    program = root / "opt" / "wardround" / "bin" / "wardround"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return root


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", UNITS)
def test_systemd_verifies(name, machine):
    done = analyze("verify", f"--root={machine}", "--recursive-errors=no", name)
    assert done.returncode == 0, done.stderr
    assert "wardround" not in done.stderr, done.stderr


def test_a_misspelt_setting_would_be_found(machine):
    broken = machine / "etc" / "systemd" / "system" / "broken.service"
    text = (SYSTEMD / "wardround-agent.service").read_text().replace("PrivateNetwork=", "PrivatNetwork=")
    broken.write_text(text)
    done = analyze("verify", f"--root={machine}", "--recursive-errors=no", "broken.service")
    broken.unlink()
    assert "PrivatNetwork" in done.stderr


@pytest.mark.parametrize(("name", "most"), [("agent", 10), ("connector", 17), ("coordinator", 17)])
def test_exposure_is_low(name, most, machine):
    """systemd's own score in tenths: 0 is closed, 100 is open; above 20 it says MEDIUM or worse."""
    done = analyze("security", "--offline=yes", f"--root={machine}", f"--threshold={most}", f"wardround-{name}.service")
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


# ------------------------------------------------------------------------------------------------- what must be closed


def test_the_agent_has_no_network():
    agent = "wardround-agent.service"
    assert one(agent, "PrivateNetwork") == "yes"
    assert one(agent, "RestrictAddressFamilies") == "AF_UNIX"
    assert one(agent, "IPAddressDeny") == "any"


def test_the_agent_writes_its_state_and_the_sockets_folder_only():
    agent = "wardround-agent.service"
    assert one(agent, "ProtectSystem") == "strict"
    assert one(agent, "StateDirectory") == "wardround-agent" and one(agent, "StateDirectoryMode") == "0700"
    assert paths(agent, "ReadWritePaths") == {"/run/wardround"}
    assert {"/etc/wardround", "/srv/wardround"} <= paths(agent, "ReadOnlyPaths")


def test_the_connector_can_reach_neither_data_nor_the_agents_state():
    connector = "wardround-connector.service"
    assert paths(connector, "InaccessiblePaths") == {"/etc/wardround", "/srv/wardround", "/var/lib/wardround-agent"}
    assert one(connector, "ProtectHome") == "yes"
    assert one(connector, "StateDirectory") == "wardround-connector" and one(connector, "StateDirectoryMode") == "0700"
    assert one(connector, "ProtectSystem") == "strict" and not paths(connector, "ReadWritePaths")


def test_the_agent_cannot_read_the_connectors_key_nor_the_coordinator_either_sides():
    assert "/var/lib/wardround-connector" in paths("wardround-agent.service", "InaccessiblePaths")
    assert {"/srv/wardround", "/var/lib/wardround-agent"} <= paths("wardround-coordinator.service", "InaccessiblePaths")


def test_the_connector_listens_on_no_port():
    assert one("wardround-connector.service", "SocketBindDeny") == "any"
    assert set(one("wardround-connector.service", "RestrictAddressFamilies").split()) == {
        "AF_INET", "AF_INET6", "AF_UNIX"}  # fmt: skip


def test_each_service_is_a_user_of_its_own():
    users = [one(name, "User") for name in SERVICES]
    assert len(set(users)) == len(users) and "root" not in users
    text = "\n".join((SYSTEMD / f"wardround-{name}.sysusers.conf").read_text() for name in ("site", "coordinator"))
    assert set(users) == set(re.findall(r"^u (\S+)", text, re.MULTILINE))


def test_the_connector_has_the_sockets_group_and_the_folder_gives_it_to_the_socket():
    assert one("wardround-agent.service", "Group") == "wardround-agent", "as of the folders that it reads"
    assert one("wardround-connector.service", "SupplementaryGroups") == "wardround-relay"
    folders = [line.split() for line in (SYSTEMD / "wardround-site.tmpfiles.conf").read_text().splitlines()
               if line.startswith("d ")]  # fmt: skip
    modes = {path: (mode, user, group) for _, path, mode, user, group, _ in folders}
    assert modes["/run/wardround"] == ("2750", "wardround-agent", "wardround-relay")
    assert modes["/var/lib/wardround-agent"][:2] == ("0700", "wardround-agent")
    assert modes["/var/lib/wardround-connector"] == ("0700", "wardround-connector", "wardround-connector")
    assert all(mode[-1] == "0" for mode, *_ in modes.values())


HARDENED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
    "LimitCORE": "0",
}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened(name):
    assert {key: one(name, key) for key in HARDENED} == HARDENED
    filters = unit(name)["SystemCallFilter"]
    assert filters[0] == "@system-service" and "@privileged" in filters[1] and filters[1][0] == "~"


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_phones_home(name):
    settings = {word for value in unit(name)["Environment"] for word in value.split()}
    expected = {"FLWR_TELEMETRY_ENABLED=0", "FLWR_DISABLE_UPDATE_CHECK=1", "HF_HUB_OFFLINE=1", "OMP_NUM_THREADS=1"}
    assert expected <= settings


def test_the_gpu_is_opened_by_name_and_nothing_else_changes():
    gpu = unit("wardround-agent.gpu.conf")
    assert set(gpu) == {"Wants", "After", "PrivateDevices", "DevicePolicy", "DeviceAllow"}
    assert gpu["DevicePolicy"] == ["closed"]
    assert all("nvidia" in device and device.endswith(" rw") for device in gpu["DeviceAllow"])

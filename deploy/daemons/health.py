"""Whether a daemon answers, for containers' probes.

`python -m deploy.daemons.health agent SOCKET`, or `… coordinator FOLDER`.
Exit code 0 if it does, 1 if not, with the reason in a word. Nothing is changed, and no secret is read.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
from pathlib import Path

import yaml

SECONDS = 5


def agent(path: Path) -> str | None:
    """None if the agent's own health service, asked through its Unix socket, says that it serves; else what it says."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from client import relay_pb2

    request = health_pb2.HealthCheckRequest(service=relay_pb2.DESCRIPTOR.services_by_name["Agent"].full_name)
    with grpc.insecure_channel(f"unix:{path}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=SECONDS)
        except grpc.RpcError as problem:
            return str(problem.code().name)
    return None if answer.status == health_pb2.HealthCheckResponse.SERVING else "NOT_SERVING"


def coordinator(folder: Path) -> str | None:
    """None if the coordinator answers /health over TLS with the consortium's certificate; else what is wrong."""
    try:
        settings = yaml.safe_load((folder / "consortium.yaml").read_text(encoding="utf-8"))
        trust = ssl.create_default_context(cafile=str(folder / "ca" / "ca.crt"))
        # To this machine's own address, but under the name that the certificate is for.
        plain = socket.create_connection(("127.0.0.1", int(settings["port"])), SECONDS)
        with trust.wrap_socket(plain, server_hostname=str(settings["host"])) as secured:
            connection = http.client.HTTPConnection(str(settings["host"]))
            connection.sock = secured
            connection.request("GET", "/health")
            status = connection.getresponse().status
    except ssl.SSLError:
        return "CERTIFICATE"
    except OSError:
        return "UNREACHABLE"
    return None if status == http.client.OK else f"STATUS {status}"


def main() -> int:
    probes = {"agent": agent, "coordinator": coordinator}
    if len(sys.argv) != 3 or sys.argv[1] not in probes:
        print("usage: python -m deploy.daemons.health agent SOCKET | coordinator FOLDER", file=sys.stderr)
        return 2
    wrong = probes[sys.argv[1]](Path(sys.argv[2]))
    print(wrong or "SERVING")
    return int(wrong is not None)


if __name__ == "__main__":
    sys.exit(main())

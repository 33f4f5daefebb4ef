# A hospital's two images, from the repository's root:
#   docker build --file deploy/containers/site.Dockerfile --target agent     --tag wardround-agent:0.3.0     .
#   docker build --file deploy/containers/site.Dockerfile --target connector --tag wardround-connector:0.3.0 .
# Behind a package mirror, give pip its configuration as a secret, which stays in no layer:
#   docker build --secret id=pip_conf,src=/etc/pip.conf …

FROM python:3.11.14-slim-bookworm AS agent-packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/wardround
WORKDIR /build
COPY pyproject.toml constraints.txt README.md ./
COPY common common
COPY client client
COPY server server
COPY deploy deploy
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/wardround/bin/pip install --constraint constraints.txt . \
    && rm -rf /build/common /build/client /build/server /build/deploy \
    && /opt/wardround/bin/python -m common.installation

# The connector carries messages that it cannot read: it needs Flower's transport, and nothing that trains.
FROM agent-packages AS connector-packages
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN /opt/wardround/bin/pip freeze | sed -n -E 's/^((nvidia|cuda)[a-z0-9_-]*)==.*/\1/p' \
    | xargs /opt/wardround/bin/pip uninstall --yes \
        torch torchvision triton transformers tokenizers opacus pydicom randomgen scipy sympy networkx pillow

# pip leaves last, from both, and uv, which Flower brings: an image that runs has nothing that installs.
FROM agent-packages AS agent-final
RUN /opt/wardround/bin/pip uninstall --yes uv setuptools pip

FROM connector-packages AS connector-final
RUN /opt/wardround/bin/pip uninstall --yes uv setuptools pip


FROM python:3.11.14-slim-bookworm AS base
RUN python -m pip uninstall --yes pip setuptools wheel \
    && groupadd --gid 10003 wardround-relay \
    && useradd --uid 10001 --gid 10003 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin wardround-agent \
    && useradd --uid 10002 --user-group --groups 10003 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin \
        wardround-connector
# What the command line sets for itself, said again for whoever starts Python in here by hand.
ENV PATH=/opt/wardround/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    FLWR_HOME=/tmp/flwr \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1 \
    HF_HUB_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1
STOPSIGNAL SIGTERM
ENTRYPOINT ["wardround"]


FROM base AS connector
COPY --from=connector-final /opt/wardround /opt/wardround
USER 10002:10003
WORKDIR /
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "deploy.daemons.health", "agent", "/run/wardround/agent.sock"]
CMD ["site", "connector", "--folder", "/connector", "--socket", "/run/wardround/agent.sock"]


FROM base AS agent
COPY --from=agent-final /opt/wardround /opt/wardround
USER 10001:10003
WORKDIR /site
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "-m", "deploy.daemons.health", "agent", "/site/run/agent.sock"]
CMD ["site", "agent", "--at", "/site"]

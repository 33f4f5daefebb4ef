# The coordinator's image, from the repository's root:
#   docker build --file deploy/containers/coordinator.Dockerfile --tag wardround-coordinator:0.3.0 .

FROM python:3.11.14-slim-bookworm AS packages
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
    && /opt/wardround/bin/python -m common.installation \
    && /opt/wardround/bin/pip uninstall --yes uv setuptools pip


FROM python:3.11.14-slim-bookworm
RUN python -m pip uninstall --yes pip setuptools wheel \
    && useradd --uid 10004 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin \
        wardround-coordinator
COPY --from=packages /opt/wardround /opt/wardround
ENV PATH=/opt/wardround/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    FLWR_HOME=/tmp/flwr \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1 \
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1 \
    HF_HUB_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1
STOPSIGNAL SIGTERM
USER 10004:10004
WORKDIR /coordinator
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "deploy.daemons.health", "coordinator", "/coordinator/consortium"]
ENTRYPOINT ["wardround"]
CMD ["coordinator", "up", "--at", "/coordinator/consortium"]

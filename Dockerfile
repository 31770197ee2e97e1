# The worker, and everything else that `inferwatch` runs. Build arguments:
#   EXTRAS   e.g. "--extra demo" for the image of the demo's producer

FROM python:3.12.12-slim-bookworm AS build
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY sdk sdk
COPY detectors detectors
COPY schemas schemas
COPY dashboards dashboards
COPY streams streams
ARG EXTRAS=""
ENV UV_PROJECT_ENVIRONMENT=/opt/inferwatch UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
# Exactly the lock file; no test tools; installed, not linked to /src, which stays behind.
RUN uv sync --frozen --no-default-groups --no-editable --no-cache ${EXTRAS}

FROM python:3.12.12-slim-bookworm
RUN useradd --uid 10001 --user-group --no-log-init --home-dir /var/lib/inferwatch --create-home --shell /usr/sbin/nologin inferwatch
COPY --from=build /opt/inferwatch /opt/inferwatch
# numba keeps what it compiled; the packages' own folders are not writable for the user. One thread a worker for linear algebra: its matrices
# are small, and more threads only wait for each other (a start takes 2 s of CPU, not 5).
ENV PATH=/opt/inferwatch/bin:$PATH PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 FAUST_DATADIR=/tmp/faust \
    NUMBA_CACHE_DIR=/var/lib/inferwatch/numba INFERWATCH_STATE_FOLDER=/var/lib/inferwatch/state
USER 10001:10001
WORKDIR /var/lib/inferwatch
# Made here, so that a named volume mounted on it belongs to the user.
RUN mkdir state numba findings
VOLUME /var/lib/inferwatch/state
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
ENTRYPOINT ["inferwatch"]
CMD ["worker"]

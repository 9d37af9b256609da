# The gateway alone: no model, no litellm. `--build-arg EXTRAS=providers` adds litellm from its own lock.
FROM python:3.12-slim-bookworm AS build
ARG EXTRAS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The environment has no pip and no setuptools: what is not in it cannot be misused.
RUN python -m venv --without-pip /opt/farthing
COPY requirements/ requirements/
RUN set -eu; for lock in base ${EXTRAS}; do \
        pip --python /opt/farthing/bin/python install --no-deps --only-binary :all: --require-hashes \
            --requirement "requirements/${lock}.txt"; \
    done; \
    pip install --no-deps --require-hashes --requirement requirements/build.txt
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && pip --python /opt/farthing/bin/python install --no-deps --no-index /dist/*.whl \
    && /opt/farthing/bin/python -I -S scripts/startup_files.py /opt/farthing

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/farthing --shell /usr/sbin/nologin farthing \
    && install --directory --owner farthing --group farthing --mode 0750 /var/lib/farthing
COPY --from=build /opt/farthing /opt/farthing
# Read by the files in config/: every interface of the container, and the volume below.
ENV PATH=/opt/farthing/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FARTHING_HOST=0.0.0.0 \
    FARTHING_DATA_DIR=/var/lib/farthing
USER 10001:10001
VOLUME /var/lib/farthing
EXPOSE 4141
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-I", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:4141/healthz', timeout=2)"]
ENTRYPOINT ["farthing", "serve", "--config", "/etc/farthing"]

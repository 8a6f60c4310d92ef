# cea restore and cea degrade, nothing else: docs/docker.md. Build from the project's folder.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY requirements.sha256 docs/docker/restore.txt ./
RUN python3 -m venv /opt/cea \
 && grep -E "^($(paste -sd'|' restore.txt))==" requirements.sha256 > needed.txt \
 && /opt/cea/bin/python -m pip install --no-cache-dir --no-deps --require-hashes --extra-index-url "${TORCH_INDEX}" --requirement needed.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY cea ./cea
RUN /opt/cea/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${BASE}
COPY --from=build /opt/cea /opt/cea
RUN useradd --uid 10001 --no-create-home cea
ENV PATH=/opt/cea/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp OMP_WAIT_POLICY=PASSIVE
USER 10001
WORKDIR /photos
ENTRYPOINT ["cea"]
CMD ["--help"]

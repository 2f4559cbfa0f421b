# Both programs in one image, with the documentation and without what built it:
#   docker build -t damocles .
#   docker run --rm --init --stop-timeout 60 --network host -v /etc/damocles:/etc/damocles -v /mnt:/mnt \
#     -v /srv/params:/var/tmp/filecoin-proof-parameters damocles damocles-worker daemon -c /etc/damocles/worker.toml
# What it mounts has to be readable, and stores writable, for its user: chown -R 10001 /mnt/nvme1/store1
FROM rust:1-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends libhwloc-dev make pkg-config python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv
ENV PATH=/opt/uv/bin:$PATH
WORKDIR /source
COPY . .
RUN uv run --no-project --with zensical==0.0.73 zensical build --strict && make packages

FROM python:3.13-slim-bookworm
COPY --from=build /source/dist/*.whl /tmp/wheels/
RUN pip install --no-cache-dir /tmp/wheels/*.whl && rm -r /tmp/wheels \
    && useradd --uid 10001 --create-home --home-dir /var/lib/damocles damocles
USER damocles
WORKDIR /var/lib/damocles
VOLUME /var/lib/damocles
# The control API of a worker, the manager's, and a worker's metrics; they listen on loopback unless told otherwise.
EXPOSE 17890 1789 9000
CMD ["damocles-worker", "--help"]

# One image for every service of docker-compose.yml: docs/compose.md.

FROM python:3.11-slim AS builder
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# Every file of the lock is checked against its hash here. Later steps see these files alone, and no index.
COPY requirements.lock ./
RUN pip download --quiet --require-hashes --no-deps --requirement requirements.lock --dest /wheels
COPY pyproject.toml README.md LICENSE ./
COPY headrace headrace
COPY api api
COPY providers providers
COPY worker worker
COPY rehearsal rehearsal
# The lock holds the tools of development as well; the extra `up` leaves them out.
RUN python -m venv /opt/headrace \
 && /opt/headrace/bin/pip install --quiet --no-index --find-links /wheels '.[up]'

FROM python:3.11-slim
# A fixed id: what lies in a volume must still be ours after an update.
RUN groupadd --gid 10001 headrace \
 && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin headrace \
 && install --directory --owner 10001 --group 10001 --mode 0750 /data /data/files
COPY --from=builder /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH PYTHONUNBUFFERED=1 HEADRACE_FILES=/data/files
USER 10001:10001
WORKDIR /data
VOLUME /data
ENTRYPOINT ["headrace"]
CMD ["--help"]

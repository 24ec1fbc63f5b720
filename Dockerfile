# One image for every process; the command says which (compose: `command: [worker, …]`).
FROM python:3.13-slim AS build

WORKDIR /src
RUN python -m venv /opt/notifier
COPY requirements-production.lock ./
RUN /opt/notifier/bin/pip install --no-cache-dir --require-hashes -r requirements-production.lock
COPY requirements.lock pyproject.toml README.md LICENSE ./
# The build backend by its hashes as well, outside the image that ships.
RUN python -m venv /opt/build \
    && grep -A999 -E '^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==' requirements.lock \
       | awk '/^[a-z]/ { keep = /^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/ } keep' \
       > build.lock \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r build.lock
COPY notifier ./notifier
COPY workers ./workers
COPY migrations ./migrations
COPY benchmarks ./benchmarks
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-cache-dir -w dist . \
    && /opt/notifier/bin/pip install --no-deps --no-index --no-cache-dir dist/*.whl

FROM python:3.13-slim

RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/notifier notifier
COPY --from=build /opt/notifier /opt/notifier
ENV PATH=/opt/notifier/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NOTIFIER_HTTP_HOST=0.0.0.0 \
    NOTIFIER_DATA_DIR=/var/lib/notifier
USER notifier
WORKDIR /var/lib/notifier
EXPOSE 8000
ENTRYPOINT ["notifier"]
CMD ["--help"]

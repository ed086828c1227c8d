# consulcast as an image:
#
#   docker build -t consulcast .
#   docker run -d --name consulcast --net host --cap-add NET_ADMIN -e CONSUL_NODE=$(hostname) \
#       -v /etc/consulcast.yaml:/etc/consulcast.yaml:ro consulcast
#
# docs/container.md has what some hosts need besides.
#
# The build takes apt's sources from the base, and pip's index from the base (/etc/pip.conf) or from build arguments.

# Debian 12 or newer, or what is made from it.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ARG BUILD_PACKAGES="gcc libc6-dev python3-dev python3-venv"
RUN apt-get -q update \
 && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends ${BUILD_PACKAGES}
# pip's own settings, for a mirror or for packages that the base brings along.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
WORKDIR /src
COPY requirements.txt ./
# setuptools first: what has only an sdist is then built with the locked one, not with one fetched for the build
RUN python3 -m venv /opt/consulcast \
 && awk '/^setuptools==/ { p = 1 } p { print } p && !/\\$/ { exit }' requirements.txt >setuptools.txt \
 && pip="/opt/consulcast/bin/python -m pip --disable-pip-version-check --no-cache-dir" \
 && $pip install --no-compile --require-hashes --no-deps -r setuptools.txt \
 && $pip wheel --require-hashes --no-deps --no-build-isolation --use-pep517 -r requirements.txt -w /wheels \
 && $pip install --no-compile --no-index --no-deps --ignore-installed /wheels/*.whl
COPY pyproject.toml README.md LICENSE ./
COPY consulcast consulcast
# Byte code that is right whatever the files' times are: compiled here, and never looked at again.
RUN pip="/opt/consulcast/bin/python -m pip --disable-pip-version-check --no-cache-dir" \
 && $pip wheel --no-index --no-deps --no-build-isolation . -w /wheels/own \
 && $pip install --no-compile --no-index --no-deps /wheels/own/*.whl \
 && $pip check \
 && $pip uninstall -qy pip \
 && find /opt/consulcast -name __pycache__ -type d -prune -exec rm -rf {} + \
 && /opt/consulcast/bin/python -m compileall -qf --invalidation-mode unchecked-hash /opt/consulcast/lib

FROM ${BASE}
# iptables and nftables: one of them makes NAT, as the host does. ca-certificates: for https: Consul's and monitors'.
ARG RUN_PACKAGES="ca-certificates iptables nftables python3"
RUN apt-get -q update \
 && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends ${RUN_PACKAGES} \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb
COPY --from=build /opt/consulcast /opt/consulcast
RUN ln -s /opt/consulcast/bin/consulcast /usr/local/bin/consulcast
ENTRYPOINT ["consulcast"]
CMD ["run", "--config", "/etc/consulcast.yaml"]

#!/usr/bin/env bash
# Builds the image with buildah, or with docker where there is no buildah, and runs its commands.
#
#   build_image.sh [IMAGE | ROOTFS]    the base: an image's name, or a directory such as debootstrap
#                                      makes; without one, the Dockerfile's own
#   PIP_CONF=FILE                      a pip.conf for the build; it never enters the image
#   BUILD_OPTIONS="..."                more options for the build, e.g. a volume with wheels
#   BUILDAH_OPTIONS="..."              for every buildah call, e.g. --storage-driver vfs
#
# With buildah no engine has to run: BUILDAH_ISOLATION=chroot works even inside a container.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

base=${1:-}
image=pinfold
container=""
read -ra build_options <<<"${BUILD_OPTIONS:-}"
read -ra buildah_options <<<"${BUILDAH_OPTIONS:-}"

main() {
  [ ! -d "$base" ] || import_rootfs
  [ -z "$base" ] || build_options+=(--build-arg "BASE_IMAGE=$base")
  [ -z "${PIP_CONF:-}" ] || build_options+=(--secret "id=pip.conf,src=$PIP_CONF")
  if command -v buildah >/dev/null; then
    build build "${build_options[@]}" --tag "$image" .
    container=$(build from --pull-never "$image")
    trap 'build rm "$container" >/dev/null' EXIT
  else
    DOCKER_BUILDKIT=1 docker build "${build_options[@]}" --tag "$image" .
  fi
  check
}

build() { buildah "${buildah_options[@]}" "$@"; }

import_rootfs() {
  local scratch
  scratch=$(build from scratch)
  build add --quiet "$scratch" "$base" / >/dev/null
  build commit --quiet "$scratch" localhost/pinfold-base >/dev/null
  build rm "$scratch" >/dev/null
  base=localhost/pinfold-base
}

in_image() {
  echo "+ $*"
  if [ -n "$container" ]; then build run "$container" -- "$@"; else docker run --rm "$image" "$@"; fi
}

check() {
  in_image pinfold --help
  in_image pinfold migrate --help
  in_image pinfold intake --help
  in_image env PINFOLD_BROKER_URL=redis://localhost celery -A workers worker --help
  in_image env PINFOLD_BROKER_URL=redis://localhost celery -A workers beat --help
  in_image env PINFOLD_BROKER_URL=redis://localhost celery -A workers flower --help
  in_image id
  refuses "Flower needs a login" env PINFOLD_BROKER_URL=redis://localhost celery -A workers flower
  refuses "no broker" celery -A workers worker
  refuses "Permission denied" touch /opt/pinfold/written
  refuses "No such file" ls /opt/pinfold/tests
}

refuses() {
  local said
  if said=$(in_image "${@:2}" 2>&1) || ! grep -q "$1" <<<"$said"; then
    echo "expected a refusal with '$1' from: ${*:2}; got: $said" >&2
    exit 1
  fi
  echo "refused, as it should: ${*:2}"
}

main

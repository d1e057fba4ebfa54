# Sourced by quickstart and run-tests: installs what is missing and builds. Everything but the Debian packages stays in
# this checkout (.venv, build, .cache), unless CCACHE_DIR or PIP_CACHE_DIR say otherwise. Each part is skipped when it is
# already done.
export CCACHE_DIR=${CCACHE_DIR:-$PWD/.cache/ccache}
[ -n "${PIP_CACHE_DIR:-}" ] || export PIP_NO_CACHE_DIR=1 # gigabytes that .venv has already

packages=(cmake ninja-build ccache mold g++ pkg-config python3-venv
  libboost-dev libboost-filesystem-dev libboost-program-options-dev libyaml-cpp-dev libfmt-dev nlohmann-json3-dev
  libjpeg-dev libpng-dev libwebp-dev libutf8proc-dev libxxhash-dev libssl-dev libgloo-dev libgtest-dev libgmock-dev)
python_packages=(torch==2.11.0 numpy==2.4.6 pillow==13.0.0 pyarrow==26.0.1
  nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.3.5.0.6)

say() { printf '\n== %s\n' "$*"; }

install_packages() { # NAME...: the Debian packages among them that are not there yet
  local missing=()
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing Debian packages: ${missing[*]}"
  local sudo=""
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "quickstart: not root and there is no sudo. Install these first: ${missing[*]}" >&2; exit 66; }
    sudo=sudo
  fi
  $sudo apt-get update -q
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "${missing[@]}"
}

install_python() { # FILE PACKAGE...: wheels into .venv; FILE remembers what was installed
  local stamp=.venv/$1
  shift
  [ -x .venv/bin/python ] || { say "making .venv"; python3 -m venv .venv; }
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$*" ] && return 0
  say "installing Python wheels: $*"
  .venv/bin/pip install -q --disable-pip-version-check "$@"
  echo "$*" >"$stamp"
}

build() { # configure and build; ninja itself skips what is up to date
  say "building"
  [ -f build/build.ninja ] || cmake -S . -B build -G Ninja >build.log 2>&1 || { cat build.log >&2; rm -rf build build.log; exit 70; }
  rm -f build.log
  ninja -C build "$@"
}

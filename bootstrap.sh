#!/usr/bin/env bash
# From a bare Debian 12 or Ubuntu 24.04 to an answered question:
#
#     ./bootstrap.sh             packages, build, cluster, model, corpus, functions, one question
#     ./bootstrap.sh test [...]  what the tests need, then all of them; further arguments are pytest's
#                                (a cluster of this folder is stopped; ./bootstrap.sh starts it again)
#
# Needs root or sudo where system packages are missing. Run again, it does only what is not done yet. It honours
#
#     SHARDS=3 REPLICAS=0 PORT=30001   the cluster
#     SERVER=redis-server              a redis-server or valkey-server
#     MONITOR=                         1: Prometheus beside it, with alerts (docs/cluster.md)
#     MODEL=default                    a Hugging Face id or folder
#     BACKEND=auto PRECISION=auto      torch, onnx or openvino; fp32, bf16, fp16 or int8; auto: what is fastest here
#     CORPUS=corpus                    files or folders, separated by spaces
#     PYTHON=python3                   3.10 or newer
#     TORCH_INDEX=                     a package index for PyTorch alone, for example that of its CPU builds
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

SHARDS=${SHARDS:-3} REPLICAS=${REPLICAS:-0} PORT=${PORT:-30001}
SERVER=${SERVER:-} MONITOR=${MONITOR:-} MODEL=${MODEL:-default} CORPUS=${CORPUS:-corpus}
BACKEND=${BACKEND:-auto} PRECISION=${PRECISION:-auto}
PYTHON=${PYTHON:-python3} TORCH_INDEX=${TORCH_INDEX:-}
TORCH=torch==2.13.0 # the version that was tested

STATE=build/bootstrap
LOG=$STATE/log
STEPS=9
mkdir -p "$STATE"
: >"$LOG"
number=0

fail() {
    printf '\n%s\n' "$*" >&2
    exit 1
}

# step TITLE COMMAND...: run it, up to its first error, with its output in the log; shown when it fails.
step() {
    local title=$1 started=$SECONDS status
    shift
    number=$((number + 1))
    printf '[%d/%d] %s ' "$number" "$STEPS" "$title"
    printf '\n== %s: %s\n' "$title" "$*" >>"$LOG"
    set +e # bash obeys `set -e` in a subshell only where its status is not asked for at once
    (
        set -e
        "$@"
    ) >>"$LOG" 2>&1
    status=$?
    set -e
    if ((status)); then
        printf 'failed\n\n'
        tail -n 25 "$LOG" >&2
        fail "\"$title\" failed. Everything it said is in $LOG; run ./bootstrap.sh again once that is mended."
    fi
    printf '(%d s)\n' "$((SECONDS - started))"
}

# step_shown TITLE COMMAND...: as step, for what shows its own progress.
step_shown() {
    local title=$1
    shift
    number=$((number + 1))
    printf '[%d/%d] %s\n' "$number" "$STEPS" "$title"
    "$@" || fail "\"$title\" failed; run ./bootstrap.sh again once that is mended."
}

# once NAME FILE... -- COMMAND...: unless it was done in this virtual environment for these very files.
once() {
    local name=$1 files=()
    shift
    while [[ $1 != -- ]]; do files+=("$1") && shift; done
    shift
    local note=.venv/bootstrap-$name mark
    mark=$({ cat "${files[@]}" && printf '%s\n' "$@"; } | sha256sum)
    if [[ ! -e $note || $(<"$note") != "$mark" ]]; then
        "$@"
        printf '%s' "$mark" >"$note"
    fi
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

is_installed() {
    [[ $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) == "install ok installed" ]]
}

# apt_install [OPTION...] PACKAGE...: those that are missing; the services they bring are not started.
apt_install() {
    local options=() missing=()
    local argument
    for argument in "$@"; do
        if [[ $argument == -* ]]; then options+=("$argument"); elif ! is_installed "$argument"; then missing+=("$argument"); fi
    done
    ((${#missing[@]})) || return 0
    local policy=/usr/sbin/policy-rc.d status=0
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod +x "$policy"
    else
        policy=
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${options[@]}" "${missing[@]}" || status=$?
    if [[ $policy ]]; then as_root rm -f "$policy"; fi
    return $status
}

apt_update_once() {
    [[ -e $STATE/apt-updated ]] || { as_root apt-get update && touch "$STATE/apt-updated"; }
}

system_packages() {
    local packages=(python3-venv gcc libc6-dev libjemalloc2) package wanted=()
    [[ $SERVER ]] || packages+=(redis-server)
    command -v redis-cli >/dev/null || packages+=(redis-tools)
    if ! command -v apt-get >/dev/null; then
        local tool
        for tool in "$PYTHON" cc "${SERVER:-redis-server}"; do
            command -v "$tool" >/dev/null || fail "this is neither Debian nor Ubuntu, and there is no $tool: install it first"
        done
        return
    fi
    for package in "${packages[@]}"; do is_installed "$package" || wanted+=("$package"); done
    if ((${#wanted[@]})); then
        apt_update_once
        apt_install "${wanted[@]}"
    fi
    if [[ $MONITOR ]]; then monitor_packages; fi
    if [[ $SERVER ]] && ! command -v "$SERVER" >/dev/null; then
        [[ ${SERVER##*/} == valkey-server ]] || fail "SERVER=$SERVER: there is no such program"
        valkey
    fi
}

# Valkey from the distribution, on Debian 12 from its backports.
valkey() {
    if command -v valkey-server >/dev/null; then return; fi
    apt_update_once
    if [[ -z $(apt-cache madison valkey-server) ]]; then
        . /etc/os-release
        [[ ${VERSION_CODENAME:-} == bookworm ]] || fail "this system has no package valkey-server: install Valkey and name it with SERVER="
        local mirror
        mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' | awk '$2 == "bookworm" { print $1; exit }')
        printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' \
            "$mirror" /usr/share/keyrings/debian-archive-keyring.gpg |
            as_root tee /etc/apt/sources.list.d/keymiss-backports.sources >/dev/null
        as_root apt-get update
        apt_install -tbookworm-backports valkey-server
    fi
    apt_install valkey-server
}

# What `keymiss up --monitor` starts itself. The packages' own services would take its ports at the next boot.
monitor_packages() {
    local package missing=()
    for package in prometheus prometheus-redis-exporter; do is_installed "$package" || missing+=("$package"); done
    ((${#missing[@]})) || return 0
    apt_update_once
    apt_install "${missing[@]}"
    if command -v systemctl >/dev/null; then as_root systemctl disable --quiet "${missing[@]}"; fi
}

virtual_environment() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "$PYTHON is older than 3.10: name another with PYTHON="
    [[ -x .venv/bin/pip ]] || "$PYTHON" -m venv .venv
}

pip_install() {
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --no-compile "$@"
}

# pip would compile one module after the other. Some packages bring templates that are no Python: no failure.
compile_packages() {
    .venv/bin/python -m compileall -q -j 0 -x '/tests?/' .venv/lib/python3*/site-packages || true
}

# PyTorch first and alone: it may come from an index of its own, and what needs it then finds it installed.
install_torch() {
    if [[ $TORCH_INDEX ]]; then pip_install --index-url "$TORCH_INDEX" "$TORCH"; else pip_install "$TORCH"; fi
}

# Running servers keep the module that they loaded: they are stopped, and started again with the new one.
install_keymiss() {
    pip_install -e ".[onnx,openvino,export${1:-}]"
    keymiss down
    compile_packages
}

keymiss() {
    .venv/bin/keymiss "$@"
}

cluster() {
    local options=(--shards "$SHARDS" --replicas "$REPLICAS" --port "$PORT")
    if [[ $SERVER ]]; then options+=(--server "$SERVER"); fi
    if [[ $MONITOR ]]; then options+=(--monitor); fi
    keymiss up "${options[@]}"
}

what_next() {
    .venv/bin/python - <<'PYTHON'
import json, shlex, shutil, subprocess

from keymiss.hashtags import slot_of
from keymiss.keys import parse_question_key

status = json.loads(subprocess.run([".venv/bin/keymiss", "status", "--json"], capture_output=True, check=True).stdout)
key, kind = status["sample_key"], status["server"].split()[0]
paragraph, question = parse_question_key(key)
cli, benchmark = (name if shutil.which(name) else name.replace(kind, "redis") for name in (f"{kind}-cli", f"{kind}-benchmark"))
shard = next(
    server["port"]
    for server in status["shards"]
    if server["role"] == "master" and any(first <= slot_of(key) <= last for first, last in server["slots"])
)
print(f"""
Try next:
  {cli} -c -p {status["port"]} GET {shlex.quote(key)}
  .venv/bin/keymiss ask {paragraph.article}:{paragraph.number} {shlex.quote(question)}
  .venv/bin/keymiss status

Measure the model instead of the cache, then cache again:
  {cli} -p {shard} DEL {shlex.quote(key)}
  {cli} -p {shard} CONFIG SET keymiss.answer-ttl-ms 0
  {benchmark} -p {shard} -c 1 -n 100 GET {shlex.quote(key)}
  {cli} -p {shard} CONFIG SET keymiss.answer-ttl-ms 86400000

Stop everything:
  .venv/bin/keymiss down
""")
PYTHON
}

sample_question() {
    keymiss ask "$(keymiss status --json | .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)["sample_key"])')"
}

set_up() {
    step "System packages" system_packages
    step "Virtual environment" virtual_environment
    step "PyTorch" once torch /dev/null -- install_torch
    step "Keymiss: build and install" once "package${1:-}" pyproject.toml CMakeLists.txt engine/*.[ch] -- install_keymiss "${1:-}"
}

main() {
    set_up
    # shellcheck disable=SC2086 # CORPUS is a list
    {
        step_shown "Cluster" cluster
        step_shown "Model" keymiss model store --model "$MODEL" --backend "$BACKEND" --precision "$PRECISION"
        step_shown "Corpus" keymiss load $CORPUS
        step_shown "Functions, and the tokens of every paragraph" keymiss deploy
        step_shown "A question" sample_question
    }
    what_next
}

tests() {
    STEPS=5
    unset PYTHONDONTWRITEBYTECODE # tests start hundreds of workers, which would compile their modules each time
    step "What the tests need: valkey, clang, cmake, prometheus" test_packages
    sanitized_engine >"$STATE/sanitized.log" 2>&1 & # beside pip, which keeps one core busy
    set_up ,test
    wait
    # Five processes on two cores, since many tests wait; what shares a server stays together (tests/support/scheduling.py).
    exec .venv/bin/python -m pytest -n "$((5 * $(nproc) / 2))" --dist loadscope --max-worker-restart 0 "$@"
}

# Tests build it where this has not, and say why it fails.
sanitized_engine() {
    PYTHONPATH=tests "$PYTHON" -c 'from support import sanitized; sanitized.build()'
}

test_packages() {
    valkey
    command -v apt-get >/dev/null || return 0
    local package wanted=()
    for package in redis-server clang cmake ninja-build; do is_installed "$package" || wanted+=("$package"); done
    if ((${#wanted[@]})); then
        apt_update_once
        apt_install "${wanted[@]}"
    fi
    apt_install "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev" # the sanitizers
    monitor_packages
}

case ${1:-} in
'') main ;;
test) shift && tests "$@" ;;
*) fail "usage: ./bootstrap.sh [test [PYTEST ARGUMENT...]]" ;;
esac

#!/usr/bin/env bash
# Installs what the tests need and the machine does not have: RabbitMQ and PostgreSQL (Debian's
# packages, not started), Chromium, libfaketime, a Python environment with pika, cryptography and
# schemathesis, and Node with amqplib, ws and playwright-core; called with `bench`, nginx with nchan
# too. Runs as root or with sudo; does nothing where everything is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

packages=()
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || packages+=(rabbitmq-server)
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || packages+=(postgresql)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
command -v python3 >/dev/null || packages+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || packages+=(libfaketime)
command -v chromium >/dev/null || packages+=(chromium)
[ "${1:-}" != bench ] || [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] ||
    packages+=(nginx-core libnginx-mod-nchan)
if [ "${#packages[@]}" -gt 0 ]; then
    echo "Installing ${packages[*]}"
    # The tests start servers of their own: the packages must not start any.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod +x "$policy"
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${packages[@]}" >/dev/null
fi

python=target/python/bin/python3
if [ ! -x "$python" ] || ! "$python" -c 'import pika, yaml, schemathesis, cryptography' 2>/dev/null; then
    mkdir -p target
    python3 -m venv target/python
    "$python" -m pip install --quiet --disable-pip-version-check \
        'pika==1.3.2' 'pyyaml==6.0.3' 'schemathesis==4.32.5' 'cryptography==48.0.0'
fi

if [ ! -d target/node/node_modules/amqplib ] || [ ! -d target/node/node_modules/ws ] ||
    [ ! -d target/node/node_modules/playwright-core ]; then
    mkdir -p target/node
    npm install --prefix target/node --silent --no-audit --no-fund --no-package-lock \
        amqplib@0.10.9 ws@8.18.3 playwright-core@1.64.1
fi
